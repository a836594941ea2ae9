"""What happens to the brokers: they are stopped, killed and frozen, refuse records, and others become leaders."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.brokers import Broker, Cluster
from tests.chaos.account import Span
from tests.chaos.course import Wait
from tests.chaos.schedule import Disturbance, Kind
from tests.ledger import SECOND
from tests.topics import refuse

#: Seconds in which others must have taken over what a broker of several has led, and all must know it.
FAILOVER = 12


class BrokerTroubles:
    """Disturbs one broker at a time."""

    def __init__(self, broker: Broker | Cluster, namespace: str, queues: Sequence[str]) -> None:
        self._broker = broker
        self._namespace = namespace
        self._queues = queues
        #: When brokers were away or frozen, and others had not taken over yet.
        self.outages: list[Span] = []
        #: When records of ours were refused.
        self.refusals: list[Span] = []

    def happen(self, what: Disturbance, wait: Wait) -> None:
        if what.kind is Kind.REFUSE_RETRIES:
            self._refuse("retry", what.seconds, wait)
        elif what.kind is Kind.REFUSE_LETTERS:
            self._refuse("dead", what.seconds, wait)
        elif what.kind is Kind.LEADERS_MOVE:
            self._move_leaders()
        elif what.kind is Kind.BROKER_FREEZE:
            self._freeze(self._one(what), what.seconds, wait)
        elif what.kind is Kind.DISK_FULL:
            self._fill_disk(what, wait)
        else:
            self._restart(self._one(what), what, wait)

    def _one(self, what: Disturbance) -> Broker:
        return self._broker.nodes[self._which(what)]

    def _which(self, what: Disturbance) -> int:
        return int(what.luck * len(self._broker.nodes))

    def _fill_disk(self, what: Disturbance, wait: Wait) -> None:
        """Kafka ends when it cannot write; it is started again when there is room."""
        assert isinstance(self._broker, Cluster)
        begin, which = time.monotonic_ns(), self._which(what)
        node, disk = self._broker.nodes[which], self._broker.disks[which]
        disk.fill()
        wait(what.seconds)
        disk.empty()
        if not node.has_ended():
            node.stop()  # It may be about to end, or have met nothing that it had to write.
        node.start()
        self._back(begin)

    def _freeze(self, node: Broker, seconds: float, wait: Wait) -> None:
        begin = time.monotonic_ns()
        node.freeze()
        wait(seconds)
        node.thaw()
        self._back(begin)

    def _restart(self, node: Broker, what: Disturbance, wait: Wait) -> None:
        begin = time.monotonic_ns()
        node.stop() if what.kind is Kind.BROKER_STOP else node.kill()
        wait(what.seconds)
        if isinstance(self._broker, Cluster):
            # Others have taken over long before it is back.
            self.outages.append(Span(begin, min(begin + FAILOVER * SECOND, time.monotonic_ns())))
            begin = time.monotonic_ns()
        node.start()
        self._back(begin)

    def _move_leaders(self) -> None:
        assert isinstance(self._broker, Cluster)
        begin = time.monotonic_ns()
        self._broker.move_leaders(self._namespace)
        self._back(begin)

    def _back(self, begin: int) -> None:
        if isinstance(self._broker, Cluster):
            self._broker.await_in_sync()
        self.outages.append(Span(begin, time.monotonic_ns()))

    def _refuse(self, suffix: str, seconds: float, wait: Wait) -> None:
        """Have some topics take no record."""
        topics = [f"{self._namespace}.{queue}.{suffix}" for queue in self._queues]
        begin = time.monotonic_ns()
        refuse(self._broker.bootstrap, topics)
        wait(seconds)
        refuse(self._broker.bootstrap, topics, refused=False)
        self.refusals.append(Span(begin, time.monotonic_ns()))
