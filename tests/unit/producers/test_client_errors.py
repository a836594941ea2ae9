"""What is said while brokers are away: at once, in our words, and not with every try."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import KafkaError

from producers.delivery.client_errors import ClientErrors

FAIL = "FAIL [vm#producer-1] [thrd:a:9092/bootstrap]: a:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: refused"


def test_brokers_that_cannot_be_reached_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    errors = ClientErrors("a:9092")
    for _ in range(50):
        errors.log(logging.WARNING, FAIL)
        errors.note(KafkaError(KafkaError._TRANSPORT, "a:9092/bootstrap: refused"))
        errors.note(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert caplog.messages == [
        FAIL,
        "no broker at a:9092 can be reached: check KAFKA_BOOTSTRAP_SERVERS, and that they run; until then jobs stay in"
        " the buffer, and time out there",
    ]
    errors.log(logging.WARNING, "CONFWARN [vm#producer-1] [thrd:app]: something else")
    assert len(caplog.messages) == 3, "other lines are not held back"
    assert "a broker cannot be reached (a:9092/bootstrap: refused)" in (errors.reason() or "")


def test_brokers_that_let_nobody_in_are_not_said_to_be_away(caplog: pytest.LogCaptureFixture) -> None:
    errors = ClientErrors("a:9092")
    errors.note(KafkaError(KafkaError._AUTHENTICATION, "no such user"))
    errors.note(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    (said,) = caplog.messages
    assert "do not let this producer in" in said


_GIVEN_UP = "FAIL [vm#producer-2] [thrd:a:9092/1]: a:9092/1: {} (after 0ms in state APIVERSION_QUERY) ({})"


def test_a_broker_that_the_client_gives_up_is_no_refusal(caplog: pytest.LogCaptureFixture) -> None:
    """The cluster names it no more, as one that has just restarted: nothing is wrong with how we ask."""
    errors = ClientErrors("a:9092")
    errors.log(logging.WARNING, _GIVEN_UP.format("Decommissioning this broker", "_DESTROY_BROKER"))
    assert errors.reason() is None
    errors.log(logging.WARNING, _GIVEN_UP.format("Disconnected: connection reset by peer", "_TRANSPORT"))
    assert "do not let this producer in" in (errors.reason() or "")
