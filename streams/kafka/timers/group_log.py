"""Reads the partitions of the topic of delayed jobs that the group of all timekeepers gives this worker."""

from __future__ import annotations

import logging
from collections.abc import Collection
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from producers.cluster import Cluster
from streams.kafka.admin.client import Admin
from streams.kafka.errors import reason
from streams.kafka.log_reader import headers_of
from streams.logs.throttle import Throttle
from streams.ports.timers import LogUnreachable, PartitionListener, TimerChunk, TimerRecord

logger = logging.getLogger(__name__)

#: Records taken at once, and how long a broker is waited for, in seconds.
_MOST = 5_000
_REQUEST_TIMEOUT = 5.0

#: Seconds for which the topic's id is relied on: all partitions of an assignment ask for it.
_KNOWN_FOR = 5.0


class GroupLog:
    """A member of the timekeepers' group. Belongs to one thread; the listener is called within `take` and `close`."""

    def __init__(
        self, cluster: Cluster, listener: PartitionListener, *, group: str, topic: str, session_timeout: float
    ) -> None:
        self._listener = listener
        self._topic = topic
        self._admin = Admin(cluster)
        #: Asked for again now and then: the topic may be made anew.
        self._id, self._ask_again = "", 0.0
        self._paused: set[int] = set()
        self._lines = Throttle(1, 60.0)
        config: dict[str, Any] = {
            **cluster.client_config(),
            "group.id": group,
            "client.id": "streams-timekeeper",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": round(session_timeout * 1000),
            "heartbeat.interval.ms": max(200, round(session_timeout * 1000 / 3)),
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            # So soon it is known that the topic has more partitions.
            "topic.metadata.refresh.interval.ms": 30_000,
            "fetch.message.max.bytes": 1_000_000,
            "queued.max.messages.kbytes": 4_096,
            "error_cb": self._complain,
        }
        self._consumer = Consumer(config, logger=logger)
        self._consumer.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

    @property
    def id(self) -> str:
        """The topic's id (KIP-516), and its name. Raises LogUnreachable."""
        if monotonic() >= self._ask_again:
            asked = self._admin.client.describe_topics(TopicCollection([self._topic]), request_timeout=_REQUEST_TIMEOUT)
            try:
                found = asked[self._topic].result().topic_id
            except KafkaException as error:
                raise LogUnreachable(f"{self._topic}: {reason(error)}") from error
            # As Kafka itself writes it; the client writes base64 with characters that no file's name may have.
            self._id = f"{self._topic}-{str(found).replace('/', '_').replace('+', '-')}"
            self._ask_again = monotonic() + _KNOWN_FOR
        return self._id

    def take(self, wait: float) -> list[TimerChunk]:
        """Take what has come; waits for the first so many seconds."""
        try:
            first = self._consumer.poll(wait)
            if first is None:
                return []
            messages = [first, *self._consumer.consume(_MOST - 1, 0)]
        except KafkaException as error:
            self._complain(error.args[0])
            return []
        found: dict[int, tuple[list[TimerRecord], list[int]]] = {}
        for message in messages:
            self._sort(message, found)
        return [TimerChunk(number, records, ends[-1] if ends else None) for number, (records, ends) in found.items()]

    def _sort(self, message: Any, found: dict[int, tuple[list[TimerRecord], list[int]]]) -> None:
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            self._complain(error)
            return
        records, ends = found.setdefault(message.partition(), ([], []))
        if error is None:
            records.append(TimerRecord(message.offset(), message.key(), message.value(), headers_of(message)))
        else:
            ends.append(message.offset())

    def end_of(self, partition: int) -> int:
        """The next offset of a log, by its leader, behind open transactions. Raises LogUnreachable."""
        tp = KafkaPartition(self._topic, partition)
        # What is committed lies behind a transaction of somebody else's that is still open: the end of what readers of
        # committed records see would come before it.
        latest: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = self._admin.client.list_offsets(
            {tp: latest}, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_REQUEST_TIMEOUT
        )
        try:
            offset: int = asked[tp].result().offset
        except KafkaException as error:
            raise LogUnreachable(f"{self._topic}-{partition}: {reason(error)}") from error
        if offset < 0:
            raise LogUnreachable(f"{self._topic}-{partition}: no answer")
        return offset

    def read_from(self, partition: int, offset: int) -> None:
        """Go on with a partition at an offset."""
        self._paused.discard(partition)
        self._consumer.incremental_unassign([KafkaPartition(self._topic, partition)])
        self._consumer.incremental_assign([KafkaPartition(self._topic, partition, offset)])

    def pause(self, partitions: Collection[int]) -> None:
        """Read these partitions no further, and all others."""
        wanted = {*partitions} & {tp.partition for tp in self._consumer.assignment()} if partitions else set()
        if wanted == self._paused:
            return
        if resumed := self._paused - wanted:
            self._consumer.resume(self._named(resumed))
        if paused := wanted - self._paused:
            self._consumer.pause(self._named(paused))
        self._paused = wanted

    def close(self) -> None:
        """Leave the group; partitions are revoked first."""
        self._consumer.close()

    def _named(self, partitions: Collection[int]) -> list[KafkaPartition]:
        return [KafkaPartition(self._topic, number) for number in partitions]

    def _on_assign(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        starts = []
        for tp in partitions:
            offset = self._listener.assigned(tp.partition)
            starts.append(KafkaPartition(self._topic, tp.partition, 0 if offset is None else offset))
        consumer.incremental_assign(starts)

    def _on_revoke(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        for tp in partitions:
            self._paused.discard(tp.partition)
            self._listener.revoked(tp.partition)
        consumer.incremental_unassign(partitions)

    def _complain(self, error: KafkaError) -> None:
        now = monotonic()
        if self._lines.is_over(now):
            self._lines.next_period(now)
        if self._lines.allow():
            logger.warning("reading delayed jobs: %s; trying again", error.str())
