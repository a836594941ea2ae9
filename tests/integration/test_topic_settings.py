"""The settings of topics: those that a worker creates keep every job, and it tells of those of others that do not."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from producers import ProducerSettings
from streams import Queue
from streams.kafka.admin.topic_settings import warn_of_settings
from streams.kafka.admin.topics import ensure_topics
from streams.settings import Settings
from tests.topics import set_config

YEAR_MS = 365 * 24 * 3_600_000

#: Settings by which jobs are lost or stand still, by the topic's suffix, and a word of what is said of each.
HARMFUL: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "": {
        "message.timestamp.type": ("CreateTime", "deleted before it runs"),
        "cleanup.policy": ("compact,delete", "all but the last are deleted"),
        "retention.ms": ("60000", "longer than 60 s are deleted unread"),
        "retention.bytes": ("1000000", "the oldest jobs are deleted unread"),
    },
    ".retry": {
        "message.timestamp.type": ("LogAppendTime", "counted from the last failure"),
        "retention.ms": ("86400000", "never run"),
        "retention.bytes": ("1000000", "never run"),
        "message.timestamp.before.max.ms": ("3600000", "its key stands still"),
        "min.insync.replicas": ("2", "nothing can be written"),
    },
    ".dead": {"cleanup.policy": ("compact", "all but the last are deleted")},
}


@pytest.fixture
def settings(kafka: str, namespace: str) -> Settings:
    return Settings(producer=ProducerSettings(bootstrap_servers=kafka), namespace=namespace)


def complaints(settings: Settings, queue: Queue, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a start tells about the settings of a queue's topics."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "streams.kafka.admin.topics"):
        warn_of_settings(settings, [queue])
    return caplog.messages


def test_a_job_with_a_time_long_past_is_kept_as_long_as_any_other(
    settings: Settings, kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its time is the broker's, by which it is deleted when it is old and by which deadlines are counted."""
    queue = Queue("events", partitions=1)
    ensure_topics(settings, [queue])
    now = time.time() * 1000
    names = settings.topics("events")
    for topic in (names.queue, names.dead):
        kind, moment = _written(kafka, topic, round(now) - YEAR_MS).timestamp()
        assert kind == TIMESTAMP_LOG_APPEND_TIME
        assert moment > now - YEAR_MS / 2
    assert complaints(settings, queue, caplog) == [], "what a worker creates is as it should be"


def test_harmful_settings_are_told_with_what_mends_them(
    settings: Settings, kafka: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue, name = Queue("odd", partitions=1), f"{namespace}.odd"
    _create(kafka, name)
    ensure_topics(settings, [queue])
    told = complaints(settings, queue, caplog)
    for suffix, wrong in HARMFUL.items():
        for setting, (value, consequence) in wrong.items():
            (line,) = (line for line in told if line.startswith(f"topic {name}{suffix} has {setting}={value}: "))
            assert consequence in line
            told.remove(line)
            _obey(line, kafka)
    assert told == []
    assert complaints(settings, queue, caplog) == [], "what was told has mended it"


def _create(kafka: str, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    topics = [
        NewTopic(name + suffix, 1, 1, config={setting: value for setting, (value, _) in wrong.items()})
        for suffix, wrong in HARMFUL.items()
    ]
    for created in admin.create_topics(topics).values():
        created.result(30)


def _obey(line: str, kafka: str) -> None:
    """Do what the command in a line does."""
    found = re.search(
        r"--bootstrap-server (\S+) --alter --entity-type topics --entity-name (\S+) --add-config (\S+)=(\S+)$", line
    )
    assert found is not None, line
    servers, topic, setting, value = found.groups()
    assert servers == kafka
    set_config(servers, [topic], setting, value)


def _written(kafka: str, topic: str, timestamp: int) -> Message:
    """A record of that time, as it lies in the topic."""
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(topic, b"job", partition=0, timestamp=timestamp)
    producer.flush(30)
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": topic})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        message = consumer.poll(30)
    finally:
        consumer.close()
    assert message is not None
    assert message.error() is None
    return message
