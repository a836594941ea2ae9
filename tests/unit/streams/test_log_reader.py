"""Reading a log from an offset to its end, on the mock cluster that librdkafka brings along."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from time import monotonic
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer

from producers.cluster import Cluster
from streams.kafka.log_reader import Chunk, LogReader, open_consumer, reading
from streams.ports.records import TopicPartition
from tests.mock_cluster import MockCluster

HERE, THERE = TopicPartition("jobs.email.retry", 0), TopicPartition("jobs.email.retry", 1)
WITHIN = 30.0


@pytest.fixture
def broker() -> Iterator[MockCluster]:
    with closing(MockCluster(HERE.topic)) as broker:
        yield broker


def fill(broker: MockCluster, count: int) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number in range(count):
        producer.produce(HERE.topic, str(number), partition=0)
    assert producer.flush(WITHIN) == 0


def consumer(broker: MockCluster) -> Consumer:
    return open_consumer(
        Cluster(bootstrap_servers=broker.bootstrap),
        "test",
        client_id="test",
        logger=logging.getLogger(__name__),
        fetch_bytes=1_000_000,
        queued_kbytes=1_000,
    )


def all_of(reader: LogReader, most: int = 100) -> list[Chunk]:
    """Everything up to the end."""
    found: list[Chunk] = []
    give_up = monotonic() + WITHIN
    while reader.unread:
        assert monotonic() < give_up
        found += reader.take(most, 1.0)
    return found


def offsets(chunks: list[Chunk]) -> list[int | None]:
    return [message.offset() for chunk in chunks for message in chunk.messages]


@pytest.mark.parametrize("most", [1, 3, 100])
def test_a_log_is_read_from_an_offset_to_its_end(broker: MockCluster, most: int) -> None:
    fill(broker, 7)
    with reading(consumer(broker), {HERE: 2}) as reader:
        chunks = all_of(reader, most)
    assert offsets(chunks) == [2, 3, 4, 5, 6]
    assert {len(chunk.messages) for chunk in chunks} <= set(range(most + 1))
    assert chunks[-1] == Chunk(HERE, [], end=7)


def test_an_empty_log_has_an_end(broker: MockCluster) -> None:
    with reading(consumer(broker), {HERE: 0}) as reader:
        assert all_of(reader) == [Chunk(HERE, [], end=0)]


def test_a_log_that_starts_over_is_read_from_its_start(broker: MockCluster) -> None:
    fill(broker, 3)
    with reading(consumer(broker), {HERE: 1000}) as reader:
        assert offsets(all_of(reader)) == [0, 1, 2]


def test_what_has_come_is_handed_out_without_waiting_for_more(broker: MockCluster) -> None:
    fill(broker, 3)
    with reading(consumer(broker), {HERE: 0}) as reader:
        begun = monotonic()
        while reader.unread:
            reader.take(100, WITHIN)
        assert monotonic() - begun < WITHIN / 2


class Message:
    """A message of the client's, or what it says of a partition."""

    def __init__(self, tp: TopicPartition, offset: int, error: KafkaError | None = None) -> None:
        self.tp = tp
        self._offset = offset
        self._error = error

    def topic(self) -> str:
        return self.tp.topic

    def partition(self) -> int:
        return self.tp.partition

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return self._error


class Stub(Consumer):
    """Has some messages, all at once."""

    def __init__(self, *messages: Message) -> None:
        super().__init__({"group.id": "test"})
        self.messages = [*messages]

    def poll(self, timeout: float = 0) -> Any:
        return self.messages.pop(0) if self.messages else None

    def consume(self, most: int = 1, timeout: float = 0) -> Any:
        taken, self.messages = self.messages[:most], self.messages[most:]
        return taken


def test_each_partition_ends_on_its_own_and_errors_end_none() -> None:
    away = KafkaError(KafkaError._TRANSPORT)
    end = KafkaError(KafkaError._PARTITION_EOF)
    messages = [
        Message(HERE, 0), Message(HERE, 1), Message(THERE, 5), Message(HERE, 4, end), Message(THERE, 0, away),
        Message(THERE, 6), Message(THERE, 7, end), Message(HERE, 4),
    ]  # fmt: skip
    reader = LogReader(Stub(*messages), {HERE: 0, THERE: 5})
    chunks = reader.take(7, 0)
    assert [(tp, len(found), ended, error) for tp, found, ended, error in chunks] == [
        (HERE, 2, None, None),
        (THERE, 1, None, None),
        (HERE, 0, 4, None),
        (THERE, 0, None, away),
        (THERE, 1, None, None),
        (THERE, 0, 7, None),
    ]
    assert not reader.unread
    assert offsets(reader.take(7, 0)) == [4], "the log has grown meanwhile"
    assert reader.take(7, 0) == []
