"""When what is disturbed in a chaos run: pure, from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """A disturbance."""

    KILL = "a worker is killed (-9) and started again"
    FREEZE = "a worker is stopped (SIGSTOP) for longer than its session"
    STOP = "a worker is asked to stop (SIGTERM) and another one started"
    JOIN = "a worker joins"
    LEAVE = "a worker leaves"
    CRASH = "a job ends every worker that runs it"
    CRASH_ONCE = "a job ends its worker once"
    BROKER_STOP = "the broker is stopped and started"
    BROKER_KILL = "the broker is killed (-9) and started"
    BROKER_FREEZE = "the broker is frozen"
    REFUSE_RETRIES = "the broker refuses what is written to the retry topics"
    REFUSE_LETTERS = "the broker refuses what is written to the dead-letter topics"


BROKERS = (Kind.BROKER_STOP, Kind.BROKER_KILL, Kind.BROKER_FREEZE, Kind.REFUSE_RETRIES, Kind.REFUSE_LETTERS)

#: How often each comes, and how long it lasts at the least and at the most. Seconds.
_WORKERS: dict[Kind, tuple[float, float, float]] = {
    Kind.KILL: (5, 0, 2),
    Kind.FREEZE: (3, 8, 11),
    Kind.STOP: (4, 0, 2),
    Kind.JOIN: (2, 0, 0),
    Kind.LEAVE: (2, 0, 0),
    Kind.CRASH: (1, 0, 0),
    Kind.CRASH_ONCE: (2, 0, 0),
}
_BROKERS: dict[Kind, tuple[float, float, float]] = {
    Kind.BROKER_STOP: (2, 0, 8),
    Kind.BROKER_KILL: (1, 0, 4),
    Kind.BROKER_FREEZE: (3, 1, 12),
    Kind.REFUSE_RETRIES: (4, 2, 6),
    Kind.REFUSE_LETTERS: (2, 2, 6),
}

#: Mean seconds from one disturbance of the workers to the next, and of the broker from the end of one.
_WORKERS_EVERY = 9.0
_BROKERS_EVERY = 15.0


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What happens, `at` so many seconds from the start (of the broker's: from the end of the one before), for how
    many seconds; `luck`, from 0 up to 1, picks whom."""

    at: float
    kind: Kind
    seconds: float = 0.0
    luck: float = 0.0


def of_workers(chance: random.Random, seconds: float) -> list[Disturbance]:
    """What the workers go through, by time."""
    found, at = [], 2.0 + chance.expovariate(1 / _WORKERS_EVERY)
    while at < seconds:
        found.append(_draw(chance, at, _WORKERS))
        at += chance.expovariate(1 / _WORKERS_EVERY)
    return found


def of_broker(chance: random.Random, seconds: float) -> list[Disturbance]:
    """What the broker goes through, one after another: more than fits into so many seconds."""
    return [_draw(chance, 2.0 + chance.expovariate(1 / _BROKERS_EVERY), _BROKERS) for _ in range(int(seconds / 2))]


def _draw(chance: random.Random, at: float, kinds: dict[Kind, tuple[float, float, float]]) -> Disturbance:
    kind = chance.choices([*kinds], [often for often, _, _ in kinds.values()])[0]
    _, least, most = kinds[kind]
    return Disturbance(at, kind, chance.uniform(least, most), chance.random())
