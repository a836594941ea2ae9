"""Reads whole topics, past the system under test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.waiting import until

Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it lies in the log."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    def header(self, name: str) -> str | None:
        """The last header of a name, as text."""
        value = dict(self.headers).get(name)
        return None if value is None else value.decode()


def read_all(bootstrap: str, topic: str) -> list[Record]:
    """Every record of a topic, by partition and offset; none if there is no such topic yet."""
    config = {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "enable.auto.commit": False, "log_level": 0}
    with closing(Consumer({**config, "fetch.message.max.bytes": 2_000_000})) as consumer:
        ends = _ends(consumer, topic)
        consumer.assign([TopicPartition(topic, partition, 0) for partition, end in ends.items() if end])
        found: list[Record] = []
        while len(found) < sum(ends.values()):
            found += [_record(message) for message in consumer.consume(1000, timeout=1.0)]
    return sorted(found, key=lambda record: (record.partition, record.offset))


def count(bootstrap: str, topic: str) -> int:
    """How many records a topic holds, all of which must still be there."""
    config = {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "log_level": 0}
    with closing(Consumer(config)) as consumer:
        return sum(_ends(consumer, topic).values())


def partitions(bootstrap: str, topic: str) -> int:
    """How many partitions a topic has; 0 if there is none."""
    found = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=10).topics.get(topic)
    return 0 if found is None else len(found.partitions)


@contextmanager
def refusing(bootstrap: str, topic: str) -> Iterator[None]:
    """Until the end of the block every record is too large for a topic."""
    _limit_records(bootstrap, topic, 1)
    try:
        yield
    finally:
        _limit_records(bootstrap, topic, 2_000_000)


def _limit_records(bootstrap: str, topic: str, size: int) -> None:
    """Return when the broker knows a topic's new limit. Bytes."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    name = "max.message.bytes"
    entry = ConfigEntry(name, str(size), incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for done in admin.incremental_alter_configs([change], request_timeout=10).values():
        done.result()

    def known() -> bool:
        (found,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)], request_timeout=10).values()
        return bool(found.result()[name].value == str(size))

    until(known, within=30, what=f"{topic} takes records of {size} bytes")


def _ends(consumer: Consumer, topic: str) -> dict[int, int]:
    found = consumer.list_topics(timeout=10).topics.get(topic)
    if found is None:
        return {}
    ends = {}
    for partition in found.partitions:
        ends[partition] = _end(consumer, TopicPartition(topic, partition))
    return ends


def _end(consumer: Consumer, partition: TopicPartition) -> int:
    """Where a partition ends, once it has a leader: a new one is listed before that."""

    def found() -> tuple[int, int] | None:
        try:
            return consumer.get_watermark_offsets(partition, timeout=10)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                raise
            return None

    watermarks = until(found, within=30, what=f"{partition} has a leader")
    assert watermarks is not None
    return watermarks[1]


def _record(message: Any) -> Record:
    if message.error():
        raise KafkaException(message.error())
    return Record(message.partition(), message.offset(), message.key(), message.value(), message.headers() or [])
