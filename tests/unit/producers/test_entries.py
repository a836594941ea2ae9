"""What a record of the topic of delayed jobs says: each kind is told from the others, and none breaks its reader."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.delayed.entries import Ended, Entry, Malformed, OfSchedule, Rescheduled, Waiting, read_entry
from producers.routing.topics import queue_topic
from schemas.headers import (
    COMMAND,
    FIRED,
    KEY,
    MOVED_FROM,
    NOT_BEFORE,
    QUEUE,
    DelayedJob,
    Headers,
    command_key,
    fired_mark,
    reschedule,
    with_delay,
)

JOB = with_delay([("ce_id", b"job-1")], queue="email", key=b"k", due_ms=5_000)
NAMES = st.sampled_from([COMMAND, FIRED, KEY, NOT_BEFORE, MOVED_FROM, QUEUE, "ce_id"]) | st.text(max_size=5)
VALUES = st.none() | st.sampled_from([b"reschedule", b"email", b"5000"]) | st.binary(max_size=20)
HOSTILE_HEADERS = st.none() | st.lists(st.tuples(NAMES, VALUES), max_size=8)
HOSTILE_KEYS = st.tuples(st.sampled_from([b"", b"command/", b"schedule/"]), st.binary(max_size=20)).map(b"".join)


def read(key: bytes, value: bytes | None, headers: Headers | None) -> Entry:
    return read_entry(key, value, headers, "jobs")


def test_a_job_waits() -> None:
    assert read(b"job-1", b"payload", JOB) == Waiting(DelayedJob(b"job-1", "email", b"k", 5_000, None))
    moved = [*JOB, (MOVED_FROM, b"jobs.email/0/7")]
    assert read(b"job-1", b"payload", moved) == Waiting(DelayedJob(b"job-1", "email", b"k", 5_000, b"jobs.email/0/7"))


def test_a_job_without_a_payload_waits_like_any_other() -> None:
    """Its queue makes a dead letter of it: nothing but a null is an end."""
    assert isinstance(read(b"job-1", b"", JOB), Waiting)


def test_a_command_is_for_the_job_that_its_key_names() -> None:
    assert read(command_key(b"job-1"), b"", reschedule(7_000)) == Rescheduled(b"job-1", 7_000)
    assert read(b"command/command/x", b"", reschedule(7_000)) == Rescheduled(b"command/x", 7_000)
    assert read(b"command/job-1", b"any", [*JOB, *reschedule(7_000)]) == Rescheduled(b"job-1", 7_000)


def test_a_null_is_an_end() -> None:
    assert read(b"job-1", None, []) == Ended(b"job-1", None, None)
    assert read(b"job-1", None, None) == Ended(b"job-1", None, None)
    assert read(b"job-1", None, JOB) == Ended(b"job-1", None, None)
    assert read(b"command/job-1", None, []) == Ended(b"command/job-1", None, None)


def test_an_end_tells_who_has_fired_the_job_and_where_it_came_from() -> None:
    assert read(b"job-1", None, fired_mark(b"me", None)) == Ended(b"job-1", b"me", None)
    assert read(b"job-1", None, fired_mark(b"me", b"jobs.email/0/7")) == Ended(b"job-1", b"me", b"jobs.email/0/7")


@pytest.mark.parametrize("value", [None, b"", b"payload"])
@pytest.mark.parametrize("headers", [None, [], JOB, reschedule(7_000)])
def test_whatever_a_schedule_says_it_is_no_job(value: bytes | None, headers: Headers | None) -> None:
    assert read(b"schedule/nightly", value, headers) == OfSchedule(b"schedule/nightly")


@pytest.mark.parametrize(
    ("key", "headers", "why"),
    [
        (b"", JOB, "header 'key': expected an id of 1 to 1024 bytes"),
        (b"\xff", JOB, "header 'key': expected an id of 1 to 1024 bytes"),
        (b"job-1", [], "header 'job-queue': expected the name of a queue"),
        (b"job-1", None, "its headers have names that are no UTF-8"),
        (b"command/job-1", None, "its headers have names that are no UTF-8"),
        (b"job-1", [(QUEUE, b"email")], "header 'job-not-before': expected epoch milliseconds"),
        (b"job-1", [*JOB, (NOT_BEFORE, b"soon")], "header 'job-not-before': expected epoch milliseconds"),
        (b"command/job-1", [], "header 'job-command': expected reschedule"),
        (b"command/job-1", JOB, "header 'job-command': expected reschedule"),
        (b"command/job-1", [(COMMAND, b"reschedule")], "header 'job-not-before': expected epoch milliseconds"),
    ],
)
def test_of_what_is_none_of_these_it_is_said_what_is_expected(key: bytes, headers: Headers | None, why: str) -> None:
    entry = read(key, b"payload", headers)
    assert isinstance(entry, Malformed)
    assert entry.why.startswith(why)


@pytest.mark.parametrize(
    ("queue", "why"),
    [
        (b"a.b", "letters, digits, - and _"),
        (b"email.dead", "letters, digits, - and _"),
        (b"../email", "letters, digits, - and _"),
        (b"email\n", "letters, digits, - and _"),
        (b"e\0mail", "letters, digits, - and _"),
        (b"-", "letters, digits, - and _"),
        (b"scheduled", "which are taken"),
        (b"state", "which are taken"),
        (b"control", "which are taken"),
        (b"q" * 300, "at most 243 characters"),
    ],
)
def test_a_job_for_what_is_no_queue_is_malformed(queue: bytes, why: str) -> None:
    """Above all for the topic of delayed jobs itself, where it would go round for ever."""
    entry = read(b"job-1", b"payload", [*JOB, (QUEUE, queue)])
    assert isinstance(entry, Malformed)
    assert why in entry.why


def test_the_length_of_a_queue_counts_with_its_namespace() -> None:
    queue = "q" * 200
    headers = with_delay([], queue=queue, key=None, due_ms=1)
    assert isinstance(read_entry(b"job-1", b"", headers, "n"), Waiting)
    assert isinstance(read_entry(b"job-1", b"", headers, "n" * 50), Malformed)


@given(HOSTILE_KEYS, st.none() | st.binary(max_size=20), HOSTILE_HEADERS)
def test_any_record_is_read(key: bytes, value: bytes | None, headers: list[tuple[str, bytes | None]] | None) -> None:
    entry = read(key, value, headers)
    assert isinstance(entry, get_args(Entry))
    if key.startswith(b"schedule/"):
        assert entry == OfSchedule(key)
    elif value is None:
        assert isinstance(entry, Ended)
        assert entry.id == key
    elif key.startswith(b"command/"):
        assert isinstance(entry, Rescheduled | Malformed)
    else:
        assert isinstance(entry, Waiting | Malformed)
    if isinstance(entry, Waiting):
        assert queue_topic("jobs", entry.job.queue) == f"jobs.{entry.job.queue}"
        assert 0 <= entry.job.due_ms < 10**18
