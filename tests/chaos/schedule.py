"""When what is disturbed in a chaos run: pure, from a seed."""

from __future__ import annotations

import random
from collections.abc import Collection
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
    GROUP_TERM = "all processes of a worker get SIGTERM and another one is started"
    GROUP_INT = "all processes of a worker get SIGINT and another one is started"
    LIMIT_THREADS = "a worker gets no more threads and processes"
    LIMIT_DESCRIPTORS = "a worker gets no more descriptors"
    LIMIT_MEMORY = "a worker gets no more memory"
    BROKER_STOP = "the broker is stopped and started"
    BROKER_KILL = "the broker is killed (-9) and started"
    BROKER_FREEZE = "the broker is frozen"
    REFUSE_RETRIES = "the broker refuses what is written to the retry topics"
    REFUSE_LETTERS = "the broker refuses what is written to the dead-letter topics"
    LEADERS_MOVE = "another broker becomes the leader of each partition"
    TOPIC_REMAKE = "a queue's topic is deleted and created again"
    RETRY_REMAKE = "a retry topic is deleted and created again"
    TOPIC_GROW = "a queue's topic gets one more partition"
    RECORDS_DELETE = "all records of a queue are deleted"
    REDRIVE = "an operator sends the dead letters of a queue back"
    PURGE = "an operator purges the dead letters of a queue"
    NET_DROP = "the network resets connections"
    NET_HOLD = "the network lets nothing through"
    NET_DEAF = "the network holds back the brokers' answers"
    NET_HALF_OPEN = "the network forgets connections and tells no client"
    NET_CUT = "the network ends connections in the middle of an answer"
    NET_DELAY = "the network is late"
    NET_SLOW = "the network is slow"
    DISK_FULL = "a broker's disk is full, which ends it, and has room again"

    @property
    def title(self) -> str:
        """Its name on the command line."""
        return self.name.lower().replace("_", "-")


ALL = frozenset(Kind)
#: What takes several brokers.
OF_CLUSTERS = frozenset({Kind.LEADERS_MOVE})
#: What takes brokers with disks of their own.
OF_DISKS = frozenset({Kind.DISK_FULL})

#: How often each comes, and how long it lasts at the least and at the most. Seconds.
Table = dict[Kind, tuple[float, float, float]]
_WORKERS: Table = {
    Kind.KILL: (5, 0, 2),
    Kind.FREEZE: (3, 8, 11),
    Kind.STOP: (4, 0, 2),
    Kind.JOIN: (2, 0, 0),
    Kind.LEAVE: (2, 0, 0),
    Kind.CRASH: (1, 0, 0),
    Kind.CRASH_ONCE: (2, 0, 0),
    Kind.GROUP_TERM: (1, 0, 2),
    Kind.GROUP_INT: (1, 0, 2),
    Kind.LIMIT_THREADS: (1, 4, 10),
    Kind.LIMIT_DESCRIPTORS: (1, 4, 10),
    Kind.LIMIT_MEMORY: (1, 4, 10),
}
_BROKERS: Table = {
    Kind.BROKER_STOP: (2, 0, 8),
    Kind.BROKER_KILL: (1, 0, 4),
    Kind.BROKER_FREEZE: (3, 1, 12),
    Kind.REFUSE_RETRIES: (4, 2, 6),
    Kind.REFUSE_LETTERS: (2, 2, 6),
    Kind.LEADERS_MOVE: (3, 0, 0),
    Kind.DISK_FULL: (1, 5, 15),
}

_NETWORK: Table = {
    Kind.NET_DROP: (2, 0.2, 6),
    Kind.NET_HOLD: (3, 1, 12),
    Kind.NET_DEAF: (2, 1, 12),
    Kind.NET_HALF_OPEN: (2, 1, 12),
    Kind.NET_CUT: (2, 0.5, 4),
    Kind.NET_DELAY: (1, 2, 8),
    Kind.NET_SLOW: (1, 2, 8),
}
_TOPICS: Table = {
    Kind.TOPIC_REMAKE: (3, 0, 0),
    Kind.RETRY_REMAKE: (2, 0, 0),
    Kind.TOPIC_GROW: (1, 0, 0),
    Kind.RECORDS_DELETE: (3, 0, 0),
}
_OPERATORS: Table = {Kind.REDRIVE: (3, 0, 0), Kind.PURGE: (1, 0, 0)}
#: What takes a network that can fail.
OF_NETWORKS = frozenset(_NETWORK)

#: Mean seconds from one disturbance of the workers to the next, and of others from the end of one.
_WORKERS_EVERY = 9.0
_BROKERS_EVERY = 15.0
_NETWORK_EVERY = 15.0
_TOPICS_EVERY = 40.0
_OPERATORS_EVERY = 25.0


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What happens, `at` so many seconds from the start (other than the workers': from the end of the one before), for
    how many seconds; `luck`, from 0 up to 1, picks whom."""

    at: float
    kind: Kind
    seconds: float = 0.0
    luck: float = 0.0


def of_workers(chance: random.Random, seconds: float, kinds: Collection[Kind] = ALL) -> list[Disturbance]:
    """What the workers go through, by time."""
    table, found, at = _only(kinds, _WORKERS), [], 2.0 + chance.expovariate(1 / _WORKERS_EVERY)
    while table and at < seconds:
        found.append(_draw(chance, at, table))
        at += chance.expovariate(1 / _WORKERS_EVERY)
    return found


def of_broker(chance: random.Random, seconds: float, kinds: Collection[Kind] = ALL) -> list[Disturbance]:
    """What the brokers go through, one after another: more than fits into so many seconds."""
    return _one_after_another(chance, seconds, _only(kinds, _BROKERS), _BROKERS_EVERY)


def of_network(chance: random.Random, seconds: float, kinds: Collection[Kind] = ALL) -> list[Disturbance]:
    """What the network goes through, one after another: more than fits into so many seconds."""
    return _one_after_another(chance, seconds, _only(kinds, _NETWORK), _NETWORK_EVERY)


def of_topics(chance: random.Random, seconds: float, kinds: Collection[Kind] = ALL) -> list[Disturbance]:
    """What the topics go through, one after another: more than fits into so many seconds."""
    return _one_after_another(chance, seconds, _only(kinds, _TOPICS), _TOPICS_EVERY)


def of_operators(chance: random.Random, seconds: float, kinds: Collection[Kind] = ALL) -> list[Disturbance]:
    """What operators do, one thing after another: more than fits into so many seconds."""
    return _one_after_another(chance, seconds, _only(kinds, _OPERATORS), _OPERATORS_EVERY)


def _one_after_another(chance: random.Random, seconds: float, table: Table, every: float) -> list[Disturbance]:
    count = int(seconds / 2) if table else 0
    return [_draw(chance, 2.0 + chance.expovariate(1 / every), table) for _ in range(count)]


def _only(kinds: Collection[Kind], table: Table) -> Table:
    return {kind: figures for kind, figures in table.items() if kind in kinds}


def _draw(chance: random.Random, at: float, kinds: Table) -> Disturbance:
    kind = chance.choices([*kinds], [often for often, _, _ in kinds.values()])[0]
    _, least, most = kinds[kind]
    return Disturbance(at, kind, chance.uniform(least, most), chance.random())
