"""What happens to the topics: they are made anew, grown, and emptied, while jobs are published to them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewPartitions, NewTopic

from tests.chaos.account import Span
from tests.chaos.course import Wait
from tests.chaos.publisher import Publisher
from tests.chaos.schedule import Disturbance, Kind
from tests.ledger import SECOND
from tests.topics import partitions
from tests.waiting import until
from tests.workers import Worker

#: A topic is not grown beyond so many partitions.
MOST = 9
#: Seconds for a change, which may have to wait until brokers are back.
_WITHIN = 300.0


#: What a worker says that sees it, and when: by the topic's id, or by an offset that it has met before.
_SEEN = re.compile(
    r"^\[([\d-]+ [\d:,]+)\] .* (\S+?)"
    r"(?: was deleted and made anew: its |-\d+ has given an offset twice: |-\d+ starts again at offset )",
    re.MULTILINE,
)

#: A topic, and when something was with it, by CLOCK_MONOTONIC, in nanoseconds.
Moment = tuple[str, int]


def unseen(workers: Iterable[Worker], remakes: Sequence[Moment]) -> dict[int, list[Span]]:
    """From when a topic was made anew until a worker says so, by the worker's process."""
    return {worker.pid: spans_until(seen_at(worker.output), remakes) for worker in workers}


def seen_at(output: str) -> list[Moment]:
    """When a worker saw that a topic was made anew."""
    ahead = time.monotonic_ns() - time.time_ns()
    said = [(topic, datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f")) for at, topic in _SEEN.findall(output)]
    # Its clock is told to the millisecond that had begun.
    return [(topic, int(at.timestamp() * 1000 + 1) * (SECOND // 1000) + ahead) for topic, at in said]


def spans_until(seen: Iterable[Moment], remakes: Sequence[Moment]) -> list[Span]:
    """Until each of these moments, from when their topic was last made anew."""
    found = []
    for topic, at in seen:
        before = [begun for remade, begun in remakes if remade == topic and begun <= at]
        found += [Span(max(before), at)] if before else []
    return found


class TopicTroubles:
    """Changes one queue's topics at a time; the publisher notes what is gone with that."""

    def __init__(
        self, bootstrap: str, namespace: str, queues: Sequence[str], copies: int, publisher: Publisher
    ) -> None:
        self._bootstrap = bootstrap
        self._admin = self._client()
        self._namespace = namespace
        self._queues = queues
        self._copies = copies
        self._publisher = publisher
        #: When topics changed.
        self.changes: list[Span] = []
        #: From when on topics were made anew.
        self.remakes: list[Moment] = []

    def happen(self, what: Disturbance, wait: Wait) -> None:
        del wait
        queue = self._queues[int(what.luck * len(self._queues))]
        begin = time.monotonic_ns()
        if what.kind is Kind.TOPIC_REMAKE:
            with self._publisher.held(queue):
                self._publisher.renew(queue)
                self._make_anew(f"{self._namespace}.{queue}")
        elif what.kind is Kind.RETRY_REMAKE:
            with self._publisher.held(queue):
                self._publisher.renew(queue)
                self._make_anew(f"{self._namespace}.{queue}.retry")
        elif what.kind is Kind.TOPIC_GROW:
            self._grow(f"{self._namespace}.{queue}")
        else:
            self._empty(queue)
        self.changes.append(Span(begin, time.monotonic_ns()))

    def _make_anew(self, topic: str) -> None:
        """Delete a topic and create another of its name."""
        count = self._count(topic)
        self.remakes.append((topic, time.monotonic_ns()))
        new = NewTopic(topic, count, self._copies)
        self._do(lambda: self._admin.delete_topics([topic], request_timeout=10), unless=_UNKNOWN)
        self._do(lambda: self._admin.create_topics([new], request_timeout=10), unless=_EXISTS)

    def _grow(self, topic: str) -> None:
        count = self._count(topic)
        if count < MOST:
            new = NewPartitions(topic, count + 1)
            self._do(lambda: self._admin.create_partitions([new], request_timeout=10), unless=_INVALID)

    def _empty(self, queue: str) -> None:
        """Delete all records of a queue that there are."""
        topic = f"{self._namespace}.{queue}"
        asked = {TopicPartition(topic, number): _LATEST for number in range(self._count(topic))}
        told = self._do(lambda: self._admin.list_offsets(asked, request_timeout=10))
        ends = {each.partition: found.offset for each, found in told.items()}
        self._publisher.remove(queue, ends)
        before = [TopicPartition(topic, number, offset) for number, offset in ends.items()]
        self._do(lambda: self._admin.delete_records(before, request_timeout=10))

    def _client(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 0})

    def _count(self, topic: str) -> int:
        return until(lambda: self._listed(topic), within=_WITHIN, what=f"there is a topic {topic}")

    def _listed(self, topic: str) -> int:
        try:
            return partitions(self._bootstrap, topic)
        except KafkaException:
            return 0

    def _do(self, ask: Callable[[], Mapping[Any, Future[Any]]], unless: int | None = None) -> dict[Any, Any]:
        """Ask until the brokers have done it, or say that it was done already; what they say."""
        said: dict[Any, Any] = {}

        def done() -> bool:
            try:
                said.update({what: answer.result() for what, answer in ask().items()})
            except KafkaException as error:
                # A client may have lost sight of a leader for good: of a topic made anew (librdkafka's issue 4898).
                self._admin = self._client()
                return unless is not None and error.args[0].code() == unless
            return True

        until(done, within=_WITHIN, what="the brokers do what they are asked to")
        return said


_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_UNKNOWN = KafkaError.UNKNOWN_TOPIC_OR_PART
_EXISTS = KafkaError.TOPIC_ALREADY_EXISTS
_INVALID = KafkaError.INVALID_PARTITIONS
