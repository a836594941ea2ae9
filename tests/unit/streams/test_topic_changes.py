"""Changes of topics that a cluster cannot make just now, told by the answers of its admin client.

A broker that is being stopped in order is neither here nor away, for less time than a test could hold it in.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from streams.errors import SetupError
from streams.kafka.admin import topic_changes
from streams.kafka.admin.topic_changes import Topic, create_topics, grow_topic


class Answering:
    """An admin client that gives out answers in turn: the code of an error, or 0."""

    def __init__(self, *codes: int) -> None:
        self._codes = list(codes)
        #: The names of the topics in each request.
        self.requests: list[list[str]] = []

    def create_partitions(self, wanted: Iterable[Any], *, request_timeout: float) -> dict[str, Future[None]]:
        names = [each.topic for each in wanted]
        self.requests.append(names)
        return {name: self._answer() for name in names}

    create_topics = create_partitions

    def _answer(self) -> Future[None]:
        answer: Future[None] = Future()
        code = self._codes.pop(0)
        if code:
            answer.set_exception(KafkaException(KafkaError(code)))
        else:
            answer.set_result(None)
        return answer

    def list_topics(self, name: str, *, timeout: float) -> Any:
        raise AssertionError("a test of answers asks for no leaders")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_changes, "_REQUEST_AGAIN", 0.0)
    monkeypatch.setattr(topic_changes, "_await_leaders", lambda admin, topics: None)


def grow(admin: Answering, within: float) -> None:
    grow_topic(cast(AdminClient, admin), Topic("jobs.retry", 4), within=within)


def create(admin: Answering, *names: str, within: float = 60.0) -> None:
    create_topics(cast(AdminClient, admin), [Topic(name, 4) for name in names], 3, within=within)


def test_a_start_waits_for_a_broker_that_is_being_stopped(caplog: pytest.LogCaptureFixture) -> None:
    missing = KafkaError.INVALID_REPLICATION_FACTOR
    admin = Answering(missing, missing, missing, KafkaError.NOT_CONTROLLER, 0)
    grow(admin, within=60)
    assert len(admin.requests) == 5
    assert caplog.text.count("the cluster cannot change topic jobs.retry just now, waiting for up to 60 s") == 2


def test_a_start_waits_for_a_broker_that_the_client_gets_to_know_anew() -> None:
    """As when the last broker of a cluster starts: the client drops what it knew it by, with its requests."""
    admin = Answering(KafkaError._DESTROY_BROKER, KafkaError._TRANSPORT, 0)
    grow(admin, within=60)
    assert len(admin.requests) == 3


def test_a_running_worker_does_not_wait() -> None:
    admin = Answering(KafkaError.INVALID_REPLICATION_FACTOR)
    with pytest.raises(KafkaException) as refused:
        grow(admin, within=0)
    assert refused.value.args[0].code() == KafkaError.INVALID_REPLICATION_FACTOR


def test_a_topic_that_lacks_brokers_is_told_of_with_the_remedy() -> None:
    admin = Answering(KafkaError.INVALID_REPLICATION_FACTOR)
    with pytest.raises(SetupError, match="start the brokers that are missing, or set STREAMS_REPLICATION_FACTOR"):
        create(admin, "jobs", within=0)
    with pytest.raises(SetupError, match="create it by hand, or allow this user to"):
        create(Answering(KafkaError.TOPIC_AUTHORIZATION_FAILED), "jobs")


def test_what_lasts_is_not_waited_for() -> None:
    admin = Answering(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(KafkaException):
        grow(admin, within=60)


def test_another_worker_was_faster() -> None:
    grow(Answering(KafkaError.INVALID_PARTITIONS), within=0)
    create(Answering(KafkaError.TOPIC_ALREADY_EXISTS), "jobs")


def test_only_what_is_left_is_requested_again() -> None:
    admin = Answering(0, KafkaError.INVALID_REPLICATION_FACTOR, KafkaError.TOPIC_ALREADY_EXISTS, 0)
    create(admin, "jobs", "jobs.retry", "jobs.dead")
    assert admin.requests == [["jobs", "jobs.retry", "jobs.dead"], ["jobs.retry"]]
