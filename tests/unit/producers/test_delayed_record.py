"""The record of a delayed job: where it waits, what it says, and what is refused before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from producers import AsyncJobProducer, JobProducer, JobRecord, OptionInvalid, PayloadTooLarge, compose
from schemas.catalog import shipped
from schemas.codec import Codec
from schemas.headers import TEXT_LIMIT, DelayedJob, Headers, build, read_delayed, shared_headers, when_due
from schemas.models.email import SendEmail
from tests.mock_cluster import MockCluster
from tests.unit.producers.brokers import NAMESPACE, WITHIN, email, settings

CODEC = Codec(shipped())
EMAIL = SendEmail(to=["someone@example.org"], subject="Hello", text="Body")
NOW = 1_767_225_600_123  # 2026-01-01T00:00:00.123Z
LATER = datetime(2026, 1, 1, 1, tzinfo=UTC)
LATER_MS = 1_767_229_200_000


def record(payload: Any = EMAIL, namespace: str = "jobs", **options: Any) -> JobRecord:
    sender = {name: options.pop(name) for name in ("parent", "max_bytes") if name in options}
    given: Any = options
    return compose(CODEC, payload, given, namespace=namespace, source="shop", now_ms=NOW, **sender)


def values(made: JobRecord, name: str) -> list[bytes]:
    return [value for each, value in made.headers if each == name]


# -- what it says -----------------------------------------------------------------------------------------------------


def test_a_delayed_job_waits_under_its_id_and_says_where_it_goes() -> None:
    made = record(
        id="order-1", key="Zoë", delay=60, timeout=2, max_attempts=3, expires_in=5, parent="p", headers={"tenant": "7"}
    )
    assert (made.topic, made.key, made.id) == ("jobs.scheduled", b"order-1", "order-1")
    assert made.value == record().value
    assert made.headers == [
        *build(shared_headers("jobs.email.SendEmail", "shop"), "order-1", NOW),
        ("job-expires-at", b"%d" % (NOW + 65_000)),
        ("job-timeout-ms", b"2000"),
        ("job-max-attempts", b"3"),
        ("job-not-before", b"%d" % (NOW + 60_000)),
        ("job-queue", b"email"),
        ("job-key", "Zoë".encode()),
        ("job-parent", b"p"),
        ("tenant", b"7"),
    ]


def test_its_queue_is_the_one_that_it_would_have_gone_to() -> None:
    made = record(namespace="my.shop", queue="newsletter", delay=1)
    assert made.topic == "my.shop.scheduled"
    assert values(made, "job-queue") == [b"newsletter"]


def test_a_job_without_a_key_waits_without_one() -> None:
    made = record(delay=1)
    assert made.key == made.id.encode()
    assert values(made, "job-key") == []
    assert values(made, "ce_id") == [made.id.encode()]


def test_jobs_of_one_key_wait_apart() -> None:
    """Else compaction would keep the last of them alone."""
    assert record(key="k", delay=1).key != record(key="k", delay=1).key


@pytest.mark.parametrize(
    ("options", "due_ms"),
    [
        ({"delay": 0}, NOW),
        ({"delay": 0.0001}, NOW + 1),
        ({"delay": timedelta(minutes=1)}, NOW + 60_000),
        ({"run_at": LATER}, LATER_MS),
        ({"run_at": LATER, "delay": None}, LATER_MS),
        ({"run_at": datetime(2020, 1, 1, tzinfo=UTC)}, 1_577_836_800_000),
        ({"run_at": datetime(1969, 1, 1, tzinfo=UTC)}, 0),
    ],
)
def test_who_keeps_the_time_reads_what_was_asked_for(options: dict[str, Any], due_ms: int) -> None:
    made = record(id="é", key="k", **options)
    assert made.key is not None
    assert read_delayed(made.key, made.headers) == DelayedJob("é".encode(), "email", b"k", due_ms, None)


def test_in_its_queue_it_is_the_job_that_it_would_have_been() -> None:
    asked: dict[str, Any] = {"id": "order-1", "key": "k", "timeout": 2, "headers": {"tenant": "7"}}
    made, plain = record(delay=60, **asked), record(**asked)
    assert made.key is not None
    job = read_delayed(made.key, made.headers)
    goes = when_due(job, made.headers, job.due_ms)
    assert goes == [*plain.headers, ("job-scheduled-for", b"%d" % (NOW + 60_000))]
    assert (job.key, made.value) == (plain.key, plain.value)


@pytest.mark.parametrize(
    ("options", "expires"),
    [
        ({"delay": 60}, NOW + 90_000),
        ({"delay": 0}, NOW + 30_000),
        ({"run_at": LATER}, LATER_MS + 30_000),
        ({}, NOW + 30_000),
    ],
)
def test_a_job_expires_so_long_after_it_falls_due(options: dict[str, Any], expires: int) -> None:
    assert values(record(expires_in=30, **options), "job-expires-at") == [b"%d" % expires]


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("job_id", ["command/1", "schedule/nightly", "command/", "schedule/"])
@pytest.mark.parametrize("when", [{"delay": 0}, {"run_at": LATER}])
def test_an_id_that_is_kept_for_something_else_is_refused(job_id: str, when: dict[str, Any]) -> None:
    with pytest.raises(OptionInvalid, match=r"id: expected an id .* that begins with neither command/ nor schedule/"):
        record(id=job_id, **when)
    assert record(id=job_id).id == job_id, "without a delay it is an id like any other"


def test_an_id_may_have_what_its_record_may_have_as_key() -> None:
    made = record(id="i" * TEXT_LIMIT, delay=1)
    assert made.key is not None
    assert read_delayed(made.key, made.headers).id == b"i" * TEXT_LIMIT
    with pytest.raises(OptionInvalid, match="id: expected 1 to 1024 bytes"):
        record(id="i" * (TEXT_LIMIT + 1), delay=1)


REFUSED = [
    ({"delay": -1}, "delay: expected seconds from 0 to ten years"),
    ({"delay": True}, "delay: expected seconds from 0 to ten years"),
    ({"delay": float("nan")}, "delay: expected seconds from 0 to ten years"),
    ({"delay": timedelta(days=3661)}, "delay: expected seconds from 0 to ten years"),
    ({"run_at": datetime(2027, 1, 1)}, r"run_at: expected a datetime with a time zone, such as datetime\.now"),
    ({"run_at": datetime(2999, 1, 1, tzinfo=UTC)}, "run_at: expected a time within the next ten years"),
    ({"run_at": LATER, "delay": 1}, "run_at: expected either delay or run_at, and not both"),
]


@pytest.mark.parametrize(("options", "named"), REFUSED)
def test_what_is_no_time_is_refused_by_whatever_publishes(options: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionInvalid, match=named):
        record(**options)
    with pytest.raises(OptionInvalid, match=named):
        JobProducer(codec=CODEC).publish(EMAIL, **options)
    with pytest.raises(OptionInvalid, match=named):
        JobProducer(codec=CODEC).publish_many([EMAIL], **options)
    with pytest.raises(OptionInvalid, match=named):
        asyncio.run(_publish(options))


async def _publish(options: Any) -> None:
    await AsyncJobProducer(codec=CODEC).publish(EMAIL, **options)


@pytest.mark.parametrize("name", ["job-queue", "job-key", "job-not-before", "Job-Scheduled-For"])
def test_headers_of_a_delay_are_not_for_publishers(name: str) -> None:
    with pytest.raises(OptionInvalid, match="headers: expected names other than"):
        record(delay=1, headers={name: "x"})


def test_an_oversized_record_is_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        record(SendEmail(to=["a@b.c"], subject="", text="x" * 1_000_000), delay=1)


# -- on a broker ------------------------------------------------------------------------------------------------------


@pytest.fixture
def broker() -> Iterator[MockCluster]:
    """A broker with the topic of delayed jobs."""
    with closing(MockCluster(f"{NAMESPACE}.scheduled")) as broker:
        yield broker


def test_many_jobs_wait_for_one_time(broker: MockCluster) -> None:
    with JobProducer(settings(broker)) as producer:
        handles = producer.publish_many([(email(number), "k") for number in range(3)], delay=3600)
    check_they_wait(written(broker, 3), [handle.id for handle in handles])


async def test_many_jobs_wait_for_one_time_on_a_loop(broker: MockCluster) -> None:
    async with AsyncJobProducer(settings(broker)) as producer:
        handles = await producer.publish_many([(email(number), "k") for number in range(3)], delay=3600)
    check_they_wait(await asyncio.to_thread(written, broker, 3), [handle.id for handle in handles])


def check_they_wait(messages: list[Message], ids: list[str]) -> None:
    jobs = [read_delayed(message.key() or b"", _headers(message)) for message in messages]
    assert [job.id.decode() for job in jobs] == ids
    assert len(set(ids)) == 3
    assert {(job.queue, job.key) for job in jobs} == {("email", b"k")}
    assert [CODEC.decode(message.value())[1] for message in messages] == [email(number) for number in range(3)]


def _headers(message: Message) -> Headers:
    headers: Any = message.headers()
    return tuple(headers or ())


def written(broker: MockCluster, count: int) -> list[Message]:
    """The first records of the topic of delayed jobs."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader", "auto.offset.reset": "earliest"})
    try:
        consumer.assign([TopicPartition(f"{NAMESPACE}.scheduled", 0, 0)])
        return consumer.consume(count, WITHIN)
    finally:
        consumer.close()
