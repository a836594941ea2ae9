"""Reads whole topics, past the system under test."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

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
    #: Milliseconds since 1970.
    timestamp: int = 0

    def header(self, name: str) -> str | None:
        """The last header of a name, as text."""
        value = dict(self.headers).get(name)
        return None if value is None else value.decode()


def read_all(bootstrap: str, topic: str) -> list[Record]:
    """Every record of a topic, by partition and offset; none if there is no such topic yet."""
    config = {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "enable.auto.commit": False, "log_level": 0}
    with closing(Consumer({**config, "fetch.message.max.bytes": 2_000_000})) as consumer:
        held = _held(consumer, topic)
        consumer.assign([TopicPartition(topic, number, low) for number, (low, high) in held.items() if low < high])
        found: list[Record] = []
        while len(found) < sum(high - low for low, high in held.values()):
            found += [_record(message) for message in consumer.consume(1000, timeout=1.0)]
    return sorted(found, key=lambda record: (record.partition, record.offset))


def read_committed(bootstrap: str, topic: str) -> list[Record]:
    """Every record of a topic that no open or aborted transaction holds; none if there is no such topic yet."""
    config = {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "enable.auto.commit": False, "log_level": 0}
    with closing(Consumer({**config, "enable.partition.eof": True})) as consumer:
        unread = set(_held(consumer, topic))
        consumer.assign([TopicPartition(topic, number, 0) for number in unread])
        found: list[Record] = []
        while unread:
            for message in consumer.consume(1000, timeout=1.0):
                error = message.error()
                if error is None:
                    found.append(_record(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())
    return sorted(found, key=lambda record: (record.partition, record.offset))


def publish_raw(
    bootstrap: str, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
) -> None:
    """Write a record as any client does, with Java's placement of keys, and wait until the broker has it."""
    config = {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "log_level": 0}
    producer = Producer(config)
    refused: list[KafkaError] = []
    producer.produce(
        topic, value, key, headers=[*headers], on_delivery=lambda error, _: refused.append(error) if error else None
    )
    assert producer.flush(30) == 0
    assert not refused, refused


def count(bootstrap: str, topic: str) -> int:
    """How many records a topic holds, all of which must still be there."""
    config = {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "log_level": 0}
    with closing(Consumer(config)) as consumer:
        return sum(high for _, high in _held(consumer, topic).values())


def partitions(bootstrap: str, topic: str) -> int:
    """How many partitions a topic has; 0 if there is none."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    return len(admin.list_topics(topic, timeout=10).topics[topic].partitions)


#: A broker refuses a record whose time is further back than this. Its limit of size would be no refusal that lasts: a
#: worker raises it.
_OLDEST = "message.timestamp.before.max.ms"
_ANY_AGE = str(2**63 - 1)


@contextmanager
def refusing(bootstrap: str, topic: str) -> Iterator[None]:
    """Until the end of the block a topic takes no record."""
    refuse(bootstrap, [topic])
    try:
        yield
    finally:
        refuse(bootstrap, [topic], refused=False)


def refuse(bootstrap: str, topics: Iterable[str], *, refused: bool = True, within: float = 60) -> None:
    """Have topics refuse all records, or take them again; returns when the broker knows it."""
    topics, oldest = list(topics), "0" if refused else _ANY_AGE
    if refused:
        # Where the broker sets the times, none is ever too old.
        set_config(bootstrap, topics, "message.timestamp.type", "CreateTime", within=within)
    set_config(bootstrap, topics, _OLDEST, oldest, within=within)


def set_config(bootstrap: str, topics: Iterable[str], name: str, value: str, *, within: float = 60) -> None:
    """Set a setting of topics; returns when the broker knows it. Waits for a broker that is away."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    changes = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry]) for topic in topics]
    asked = [ConfigResource(ResourceType.TOPIC, change.name) for change in changes]

    def known() -> bool:
        try:
            for done in admin.incremental_alter_configs(changes, request_timeout=10).values():
                done.result()
            found = [described.result() for described in admin.describe_configs(asked, request_timeout=10).values()]
        except KafkaException:
            return False
        return all(each[name].value == value for each in found)

    until(known, within=within, what=f"{name} is {value} for {', '.join(change.name for change in changes)}")


def _held(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """From where to where the partitions of a topic have records."""
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    return {number: _bounds(consumer, TopicPartition(topic, number)) for number in partitions}


def _bounds(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """Where a partition begins and ends, once it has a leader: a new one, or one made anew, is listed before that."""

    def found() -> tuple[int, int] | None:
        try:
            return consumer.get_watermark_offsets(partition, timeout=10)
        except KafkaException as error:
            if error.args[0].code() not in (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError._UNKNOWN_PARTITION):
                raise
            return None

    watermarks = until(found, within=30, what=f"{partition} has a leader")
    assert watermarks is not None
    return watermarks


def _record(message: Any) -> Record:
    if message.error():
        raise KafkaException(message.error())
    _, at = message.timestamp()
    return Record(message.partition(), message.offset(), message.key(), message.value(), message.headers() or [], at)


def delete(bootstrap: str, topic: str) -> None:
    """Delete a topic; returns when no broker lists it any more."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.delete_topics([topic], request_timeout=10)[topic].result()
    until(lambda: not partitions(bootstrap, topic), within=30, what=f"{topic} is gone")


def make_anew(bootstrap: str, topic: str) -> None:
    """Delete a topic, and create it again with as many partitions, which are empty."""
    number = partitions(bootstrap, topic)
    delete(bootstrap, topic)
    create(bootstrap, topic, number)


def create(bootstrap: str, topic: str, number: int) -> None:
    """Create a topic with so many partitions; returns when all have leaders."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(topic, number, 1)], request_timeout=10)[topic].result()

    def led() -> bool:
        found = admin.list_topics(topic, timeout=10).topics[topic].partitions
        return len(found) == number and all(each.leader >= 0 for each in found.values())

    until(led, within=30, what=f"{topic} has leaders")


def lag(bootstrap: str, group: str, topic: str) -> int:
    """How far behind the ends of a topic's partitions a group is with what it has committed, as a monitor counts it."""
    with closing(Consumer({"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0})) as consumer:
        ends = {partition: end for partition, (_, end) in _held(consumer, topic).items()}
        held = consumer.committed([TopicPartition(topic, partition) for partition in ends], timeout=10)
        return sum(ends[each.partition] - max(0, each.offset) for each in held)


def forget(bootstrap: str, topic: str, *, but: int) -> dict[int, int]:
    """Delete all but the last records of each partition of a topic; where its partitions begin now."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    with closing(Consumer({"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "log_level": 0})) as consumer:
        starts = {partition: end - but for partition, (_, end) in _held(consumer, topic).items()}
    below = [TopicPartition(topic, partition, start) for partition, start in starts.items()]
    for done in admin.delete_records(below, request_timeout=10).values():
        done.result()
    return starts
