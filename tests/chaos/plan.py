"""What the jobs of a chaos run do: pure, from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import count

MAX_ATTEMPTS = 4
#: Seconds before the second attempt, and how much longer each further wait is.
BACKOFF, FACTOR = 0.2, 2
RETRY_IN = 0.3
SNOOZE = 0.25
#: Seconds that a run on the loop may take, and one in a process. A busy machine may stand still for a part of it.
TIMEOUT, PROCESS_TIMEOUT = 2.0, 4.0
#: How long a rebalance waits for what runs, and for what is on its way to the broker. Seconds.
HANDOVER = 2.0
#: And how long a stop does. Seconds.
STOP_TIMEOUT = 3.0
#: How long after its first failure a job comes back without a retry record: some do, and some do not. Seconds.
RETRY_HOLD = 0.5
#: What a worker exits with whose job has ended it.
CRASH_CODE = 7


def numbered(job: str, redrives: int) -> str:
    """The id of a job that was sent back so often: in the ledger and the account it is another one, and succeeds."""
    return f"{job}+{redrives}" if redrives else job


class Letter(Enum):
    """How one attempt ends."""

    SUCCEED = "s"
    FAIL = "f"
    #: It says itself when it is to run again.
    RETRY = "r"
    #: It comes back once without having counted.
    SNOOZE = "z"
    TIMEOUT = "t"
    PERMANENT = "p"
    #: It ends its process: the worker, or one of its pool.
    CRASH = "c"
    CRASH_ONCE = "k"


@dataclass(frozen=True, slots=True)
class Plan:
    """A letter for each attempt; those that lack one succeed."""

    letters: str = ""
    #: The job's own maximum of attempts.
    most: int | None = None
    #: Whether a crash ends a process of the pool only, which is a failure like any other.
    in_pool: bool = False

    def at(self, attempt: int) -> Letter:
        return Letter(self.letters[attempt]) if attempt < len(self.letters) else Letter.SUCCEED

    @property
    def limit(self) -> int:
        """How many attempts may be made."""
        return self.most or MAX_ATTEMPTS

    def counts(self, attempt: int) -> bool:
        """Whether an attempt fails, and is followed by another or by the end."""
        crash = self.in_pool and self.at(attempt) is Letter.CRASH
        return crash or self.at(attempt) in (Letter.FAIL, Letter.RETRY, Letter.TIMEOUT)

    @property
    def last(self) -> int:
        """The attempt that is the last."""
        return next(attempt for attempt in count() if not self.counts(attempt) or attempt + 1 == self.limit)

    @property
    def dies(self) -> bool:
        """Whether the job is a dead letter at the end."""
        return self.counts(self.last) or self.at(self.last) in (Letter.PERMANENT, Letter.CRASH)

    @property
    def kills(self) -> bool:
        """Whether it ends its worker whenever it runs."""
        return not self.in_pool and self.at(self.last) is Letter.CRASH

    def wait(self, attempt: int) -> float:
        """Seconds between a failed attempt and the next."""
        return RETRY_IN if self.at(attempt) is Letter.RETRY else BACKOFF * FACTOR**attempt


@dataclass(frozen=True, slots=True)
class Planned:
    """A job to publish."""

    queue: str
    key: str | None
    seconds: float
    plan: Plan


#: Of a hundred jobs, about fifteen are trouble.
_PLANS = {"": 85, "f": 4, "ff": 1.5, "r": 2, "z": 2, "t": 0.7, "p": 1.5, "ffff": 1, "fp": 0.5, "ft": 0.3, "fz": 0.5}
#: A thread that has run into its timeout goes on, which no ledger could tell from an overlap.
_PLANS_OF_THREADS = {plan: share for plan, share in _PLANS.items() if "t" not in plan}
_PLANS_OF_PROCESSES = {**_PLANS, "c": 1, "fc": 0.5}

_QUEUES = {"chaos": 80, "chaos-loose": 8, "chaos-thread": 8, "chaos-process": 4}
KEYS = 120


def jobs(chance: random.Random) -> Iterator[Planned]:
    """Jobs without an end: keys by Zipf, plans by chance."""
    weights = [1 / (rank + 1) ** 0.6 for rank in range(KEYS)]
    while True:
        queue = _pick(chance, _QUEUES)
        key = chance.choices(range(KEYS), weights)[0]
        yield Planned(
            queue,
            # A job without a key is ordered with nothing.
            None if chance.random() < 0.03 else f"{queue}-{key}",
            min(0.05, chance.expovariate(1 / 0.004)),
            _plan(chance, queue),
        )


def _plan(chance: random.Random, queue: str) -> Plan:
    if queue == "chaos-thread":
        return Plan(_pick(chance, _PLANS_OF_THREADS))
    if queue == "chaos-process":
        return Plan(_pick(chance, _PLANS_OF_PROCESSES), in_pool=True)
    letters = _pick(chance, _PLANS)
    return Plan(letters, most=2 if letters and chance.random() < 0.1 else None)


def _pick(chance: random.Random, shares: Mapping[str, float]) -> str:
    return chance.choices([*shares], [*shares.values()])[0]
