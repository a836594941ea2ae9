"""Which lines of the libraries a worker's log shows."""

from __future__ import annotations

import logging

import pytest

from producers.delivery.client_errors import _LIBRDKAFKA, is_worth_reading
from streams.logs.library_filters import NowAndThen, tells_something

GROUP = "aiokafka.consumer.group_coordinator"


def record(name: str, level: int, line: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(name, level, "file", 1, line, arguments, None)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("faust.worker", "[^Worker]: Ready"),
        ("faust.worker", "[^Worker]: Signal received: 15 (15)"),
        (GROUP, "Joined group 'g' (generation 1) with member_id m"),
        (GROUP, "Setting newly assigned partitions %s"),
        ("streams.kafka.admin.topics", "created topic jobs.email"),
        ("streams.job", "[email job-1] Discovered coordinator"),
        ("shop.jobs", "anything"),
    ],
)
def test_what_helps_is_shown(name: str, line: str) -> None:
    assert tells_something(record(name, logging.INFO, line))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("faust.sensors.monitor", "[^--Monitor]: Starting..."),
        ("streams.kafka.consumer.faust_consumer", "[^--Consumer]: Starting..."),
        ("faust.worker", "[^Worker]: Gathering all futures..."),
        ("faust.worker", "[^Worker]: Closing event loop"),
        (GROUP, "Discovered coordinator %s for group %s"),
        ("aiokafka.consumer.consumer", "Subscribed to topic(s): %s"),
        ("streams.kafka.producer.sender", "GETPID [rdkafka#producer-1] [thrd:main]: Acquired PID{Id:1,Epoch:0}"),
        ("streams.kafka.producer.sender", "INIT [streams-sender#producer-1] [thrd:app]: librdkafka started"),
    ],
)
def test_steps_of_the_libraries_are_not(name: str, line: str) -> None:
    arguments = ["x"] * line.count("%s")
    assert not tells_something(record(name, logging.INFO, line, *arguments))
    assert tells_something(record(name, logging.ERROR, line, *arguments))


def test_a_producer_that_asks_again_for_its_id_is_no_news() -> None:
    line = "GETPID [%s#producer-1] [thrd:main]: Failed to acquire idempotence PID from broker a:1: retrying"
    for shown in (tells_something, is_worth_reading):
        assert not shown(record("any", logging.WARNING, line, "a client"))
        assert shown(record("any", logging.ERROR, line, "a client"))
        assert shown(record("any", logging.WARNING, line.replace("GETPID", "FAIL"), "a client"))
        assert shown(record("any", logging.INFO, "GETPID is a word"))


def test_what_producers_log_is_filtered() -> None:
    assert is_worth_reading in _LIBRDKAFKA.filters


def test_what_libraries_repeat_is_shown_now_and_then() -> None:
    now = 0.0
    shown = NowAndThen(lambda: now)
    lines = [
        ("aiokafka", "Unable connect to node with id %s: %s"),
        (GROUP, "Heartbeat failed for group %s: coordinator"),
        ("streams.kafka.producer.sender", "FAIL [streams-sender#producer-1] [thrd:a]: connection refused"),
        ("streams.kafka.producer.sender", "Kafka client: %s"),
    ]
    for name, line in lines:
        for after, is_shown in ((0.0, True), (4.9, False), (0.2, True)):
            now += after
            assert shown.filter(record(name, logging.ERROR, line)) is is_shown, line


def test_a_clock_that_is_set_back_hides_nothing() -> None:
    now = 0.0
    shown = NowAndThen(lambda: now)
    first, later = (record("aiokafka", logging.ERROR, "Unable connect to node with id %s: %s") for _ in range(2))
    later.created = first.created - 3600
    assert shown.filter(first)
    now = 6.0
    assert shown.filter(later)


def test_what_is_ours_is_always_shown() -> None:
    shown = NowAndThen()
    for name, level, line in (
        ("streams.outcome", logging.WARNING, "dead  email job-1"),
        ("shop.jobs", logging.ERROR, "anything"),
        ("aiokafka", logging.INFO, "Joined group"),
    ):
        assert all(shown.filter(record(name, level, line)) for _ in range(3))
