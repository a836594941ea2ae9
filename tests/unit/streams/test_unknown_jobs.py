"""Jobs that a worker does not know: they wait, their key with them, and what can never be known does not."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.headers import Headers, Origin, RetryState, with_retry
from schemas.models.email import SendEmail
from schemas.models.webhook import DeliverWebhook
from streams.core.retry.policy import RetryPolicy
from streams.kafka.retry_topic.open_partitions import PartitionOpener
from streams.kafka.retry_topic.reader import Stored
from tests.unit.streams.rig import CODEC, P0, TOPIC, Fetched, Rig, record, rig, until
from tests.unit.streams.test_open_partitions import Group, Logs

RETRY, DEAD = f"{TOPIC}.retry", f"{TOPIC}.dead"
UNKNOWN_SCHEMA = b"\xc3\x01" + bytes(range(8)) + b"body"
UNKNOWN_ID = b"\x00" + (7).to_bytes(4, "big") + b"body"
OTHER_TYPE = CODEC.encode(SendEmail(to=[], subject="", text=""), TOPIC)
WAITING = [
    (UNKNOWN_SCHEMA, "schemas.errors.UnknownSchema"),
    (UNKNOWN_ID, "schemas.errors.UnknownSchema"),
    (OTHER_TYPE, "streams.errors.NoHandler"),
]


async def handle(job: DeliverWebhook, ctx: Any) -> None:
    ran.append(job.event)


ran: list[str] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def unknown(value: bytes, headers: Headers = ()) -> Fetched:
    return Fetched(0, b"k", value, headers)


def headers_of(it: Rig, topic: str, place: int = 0) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in it.letters.to(topic)[place].headers}


@pytest.mark.parametrize(("value", "error"), WAITING)
async def test_it_waits_and_its_key_with_it_and_no_other(value: bytes, error: str) -> None:
    async with rig(handle, schema_wait=60) as it:
        it.open(P0)
        it.take([unknown(value), record(1, "k"), record(2, "other")])
        await until(lambda: len(it.letters.to(RETRY)) == 2 and ran == ["2"])
        headers = headers_of(it, RETRY)
        assert headers["job-error-type"] == error
        assert "(waits up to 60 s for a worker that knows it)" in headers["job-error-message"]
        assert headers["job-attempt"] == "0"
        assert it.letters.to(DEAD) == []
        assert headers_of(it, RETRY, 1)["job-parked"] == "1"


@pytest.mark.parametrize(("value", "error"), WAITING)
async def test_in_the_end_it_is_a_dead_letter_and_its_key_goes_on(value: bytes, error: str) -> None:
    async with rig(handle, schema_wait=0.2) as it:
        it.open(P0)
        it.take([unknown(value), record(1, "k")])
        await it.idle()
        headers = headers_of(it, DEAD)
        assert headers["job-error-type"] == error
        assert "(no worker knew it within 0.2 s, see STREAMS_SCHEMA_WAIT)" in headers["job-error-message"]
        assert len(it.letters.to(RETRY)) >= 2
        assert ran == ["1"]


@pytest.mark.parametrize(
    ("value", "headers", "error"),
    [
        (b"garbage", (), "UnknownFraming"),
        (b"\x00\x00\x00\x00\x00garbage", (), "UnusableSchema"),
        (b"\x00\xff\xff\xff\xffgarbage", (), "UnusableSchema"),
        (record(0).value[:-1], (), "TruncatedPayload"),  # type: ignore[index]
        (UNKNOWN_SCHEMA, [("job-timeout-ms", b"soon")], "UnknownSchema"),
        (OTHER_TYPE, [("job-expires-at", b"1")], "NoHandler"),
    ],
)
async def test_what_no_worker_will_ever_run_does_not_wait(value: bytes, headers: Headers, error: str) -> None:
    async with rig(handle, schema_wait=60) as it:
        it.open(P0)
        it.take([unknown(value, headers)])
        await it.idle()
        assert headers_of(it, DEAD)["job-error-type"].endswith(error)
        assert it.letters.to(RETRY) == []


async def test_who_takes_over_tries_it_at_once_with_all_its_attempts() -> None:
    """It may know what the last owner did not: here, a job that is due only in an hour."""
    waiting = record(0, "k", "known")
    state = RetryState(0, 0, 10**13)
    failure = ("schemas.errors.UnknownSchema", "no schema has the fingerprint 00")
    headers = with_retry((), origin=Origin(TOPIC, 0, 0), state=state, failure=failure, now_ms=1)
    stored = Stored(0, waiting.key, waiting.value, tuple(headers), 0)
    async with rig(handle, schema_wait=60, retry=RetryPolicy(max_attempts=1)) as it:
        it.assignment.reassign([P0], 1)
        it.letters.ends[P0.retry] = 1
        assert await PartitionOpener(it.assignment, Group(1, end=1), Logs([stored])).open([P0], {}, lambda: False)
        it.assignment.unblock_starts()
        await it.idle()
        assert ran == ["known"]
