"""Which lines of the libraries a worker's log shows."""

from __future__ import annotations

import logging

import pytest

from streams.chatter import tells_something

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
        ("streams.topics", "created topic jobs.email"),
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
        ("streams.transport", "[^--Consumer]: Starting..."),
        ("faust.worker", "[^Worker]: Gathering all futures..."),
        ("faust.worker", "[^Worker]: Closing event loop"),
        (GROUP, "Discovered coordinator %s for group %s"),
        ("aiokafka.consumer.consumer", "Subscribed to topic(s): %s"),
        ("streams.sender", "GETPID [rdkafka#producer-1] [thrd:main]: Acquired PID{Id:1,Epoch:0}"),
        ("streams.sender", "%s"),
    ],
)
def test_steps_of_the_libraries_are_not(name: str, line: str) -> None:
    arguments = ["x"] * line.count("%s") if line != "%s" else ["GETPID [rdkafka#producer-1]"]
    assert not tells_something(record(name, logging.INFO, line, *arguments))
    assert tells_something(record(name, logging.WARNING, line, *arguments))
