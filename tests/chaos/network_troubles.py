"""What happens to the network between the clients and the brokers: to all of it, one broker's, or one worker's."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import psutil

from tests.chaos.account import Span
from tests.chaos.course import Wait
from tests.chaos.schedule import Disturbance, Kind
from tests.network import Failure, Network, Way
from tests.workers import Worker

WAYS = {
    Kind.NET_DROP: Way.DROP,
    Kind.NET_HOLD: Way.HOLD,
    Kind.NET_DEAF: Way.DEAF,
    Kind.NET_HALF_OPEN: Way.HALF_OPEN,
    Kind.NET_CUT: Way.CUT,
    Kind.NET_DELAY: Way.DELAY,
    Kind.NET_SLOW: Way.SLOW,
}


class NetworkTroubles:
    """Lets the network fail, one way after another."""

    def __init__(self, network: Network, brokers: int, workers: Callable[[], Sequence[Worker]]) -> None:
        self._network = network
        self._brokers = brokers
        self._workers = workers
        #: When it failed for everybody, or for all of one broker.
        self.outages: list[Span] = []
        #: When it failed for one worker, by its process.
        self.cuts: dict[int, list[Span]] = defaultdict(list)

    def happen(self, what: Disturbance, wait: Wait) -> None:
        way, (scope, luck) = WAYS[what.kind], divmod(what.luck * 3, 1)
        workers = self._workers()
        if scope == 0 and workers:
            victim = workers[int(luck * len(workers))].pid
            spans, failure = self.cuts[victim], Failure(way, lambda port, _: _belongs(port, victim))
        elif scope == 1:
            broker = int(luck * self._brokers)
            spans, failure = self.outages, Failure(way, lambda _, number: number == broker)
        else:
            spans, failure = self.outages, Failure(way)
        begin = time.monotonic_ns()
        self._network.fail(failure)
        wait(what.seconds)
        self._network.recover()
        spans.append(Span(begin, time.monotonic_ns()))


def _belongs(port: int, process: int) -> bool:
    """Whether a port is one that a process has a connection from."""
    try:
        return any(each.laddr and each.laddr.port == port for each in psutil.Process(process).net_connections("tcp"))
    except psutil.NoSuchProcess:
        return False
