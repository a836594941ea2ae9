"""Schedules and their records: what is written is read again, and what cannot be is refused by name."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.schedule.cron import Cron
from streams.core.schedule.definition import (
    DEEPEST,
    LARGEST_BYTES,
    LARGEST_PAYLOAD,
    LONGEST_HISTORY,
    MADE_BY_CODE,
    Schedule,
    ScheduleInvalid,
    Source,
)
from streams.core.schedule.interval import Interval
from streams.core.schedule.missed import MissedPolicy, OnMissed
from streams.core.schedule.overlap import Overlap
from streams.core.schedule.recurrence import Recurrence
from tests.unit.core.schedule.schedules import END, START, schedule, schedules


def wire(**members: Any) -> bytes:
    """A record, with members changed; None takes one out."""
    record = {**json.loads(schedule().to_json()), **members}
    return json.dumps({name: value for name, value in record.items() if value is not LEFT_OUT}).encode()


LEFT_OUT = object()


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


# -- what is written is read again ------------------------------------------------------------------------------------


@given(schedules())
def test_what_is_written_is_read_again(each: Schedule) -> None:
    again = Schedule.from_json(each.to_json())
    assert again == each
    assert again.recurrence == each.recurrence
    assert again.to_json() == each.to_json()
    assert again.content_hash == each.content_hash
    assert again.words() == each.words()


def test_a_record_is_json_that_reads_by_itself() -> None:
    each = schedule(payload={"to": "Zoë"}, start=START, missed=MissedPolicy(OnMissed.ALL, 10, 3_600_000), timeout=1.5)
    assert (
        each.to_json()
        == (
            '{"v":1,"id":"reports/daily","queue":"reports","job_type":"jobs.reports.Report","payload":{"to":"Zoë"},'
            '"cron":"0 9 * * mon-fri","tz":"Europe/Berlin","start":"2026-01-01T00:00:00.000+00:00",'
            '"missed":{"action":"all","most":10,"window":3600.0},"timeout":1.5}'
        ).encode()
    )
    made = schedule(payload=MADE_BY_CODE)
    assert b'"payload_made_by_code":true' in made.to_json()
    assert b'"payload":' not in made.to_json()


def test_members_that_a_later_version_has_are_left_out() -> None:
    assert Schedule.from_json(wire(v=2, color="blue", missed={"action": "all", "sound": 1})) == schedule(
        missed=MissedPolicy(OnMissed.ALL)
    )


def test_null_is_a_payload() -> None:
    assert Schedule.from_json(wire(payload=None)).payload is None


def test_a_payload_is_its_own_copy() -> None:
    given_: dict[str, Any] = {"names": ["a"]}
    each = schedule(payload=given_)
    given_["names"].append("b")
    assert each.payload == {"names": ["a"]}


# -- the content ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "members",
    [
        {"queue": "other"},
        {"job_type": "jobs.reports.Other"},
        {"payload": {"name": "other"}},
        {"payload": MADE_BY_CODE},
        {"key": "a"},
        {"cron": "1 9 * * mon-fri"},
        {"tz": "UTC"},
        {"start": START},
        {"end": END},
        {"count": 5},
        {"jitter": 1},
        {"missed": MissedPolicy(OnMissed.SKIP)},
        {"overlap": Overlap.SKIP},
        {"timeout": 5},
        {"expires_in": 5},
        {"max_attempts": 5},
    ],
    ids=lambda members: next(iter(members)),
)
def test_whatever_it_does_is_part_of_its_content(members: dict[str, Any]) -> None:
    assert schedule(**members).content_hash != schedule().content_hash


def test_what_is_told_about_it_is_no_part() -> None:
    told = schedule(release=5, source=Source.RUN_TIME, history=("0" * 16,))
    assert told.content_hash == schedule().content_hash


def test_the_order_of_names_in_a_payload_is_no_part() -> None:
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert schedule(payload=one).content_hash == schedule(payload=other).content_hash


def test_a_hash_stays_the_same_over_versions() -> None:
    """Else every schedule would be written anew, and older workers would be taken for newer ones."""
    assert schedule().content_hash == HASH


HASH = "6a19f088dae6ab4b"


# -- when it fires ----------------------------------------------------------------------------------------------------


def test_a_schedule_has_its_recurrence() -> None:
    limits = {"start": START, "end": END, "count": 3, "jitter": 2.5}
    cron = schedule(**limits)
    assert cron.recurrence == Recurrence.of(Cron.parse("0 9 * * mon-fri", "Europe/Berlin"), **limits)  # type: ignore[arg-type]
    every = schedule(cron=None, tz="UTC", every=timedelta(minutes=5), **limits)
    assert every.recurrence == Recurrence.of(Interval(300_000, int(START.timestamp()) * 1000), **limits)  # type: ignore[arg-type]
    assert schedule(cron=None, tz="UTC", every=30).recurrence.rule == Interval(30_000, 0)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "at 09:00 on weekdays, Europe/Berlin"),
        ({"cron": None, "tz": "UTC", "every": 30}, "every 30 seconds"),
        (
            {"start": START, "end": END, "count": 5, "jitter": 2.5},
            "at 09:00 on weekdays, Europe/Berlin, from 2026-01-01 00:00 UTC, until 2027-01-01 00:00 UTC, 5 times at the"
            " most, up to 2.5 seconds later",
        ),
        ({"count": 1}, "at 09:00 on weekdays, Europe/Berlin, once"),
    ],
)
def test_a_schedule_reads_in_words(members: dict[str, Any], words: str) -> None:
    assert schedule(**members).words() == words


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "member", "remedy"),
    [
        ({"id": ""}, "id", "1 to 200 letters, digits"),
        ({"id": "a" * 201}, "id", "1 to 200 letters, digits"),
        ({"id": "a@b"}, "id", "the characters . _ - /"),
        ({"id": "a\n"}, "id", "the characters . _ - /"),
        ({"id": "ä"}, "id", "the characters . _ - /"),
        ({"id": 5}, "id", "not 5"),
        ({"queue": "a.b"}, "queue", "letters, digits, - and _"),
        ({"queue": None}, "queue", "the name of a queue"),
        ({"job_type": "jobs..Report"}, "job_type", "such as jobs.email.SendEmail"),
        ({"job_type": "1"}, "job_type", "the full name of an Avro record"),
        ({"job_type": "a." * 600 + "b"}, "job_type", "the full name of an Avro record"),
        ({"key": b"a"}, "key", "leave it out for no key"),
        ({"key": "ä" * 600}, "key", "at most 1024 bytes"),
        ({"key": "\ud800"}, "key", "must be a text"),
        ({"cron": None}, "cron", "give either a cron expression or every=seconds"),
        ({"every": 5}, "cron", "and not both"),
        ({"cron": None, "every": 5}, "tz", "is for cron expressions"),
        ({"cron": "0 0 30 2 *"}, "cron", "no such date exists"),
        ({"cron": 5}, "cron", "a cron expression is a text"),
        ({"tz": "Berlin"}, "tz", "Europe/Berlin"),
        ({"tz": None}, "tz", "Europe/Berlin"),
        ({"cron": None, "tz": "UTC", "every": 0}, "every", "from 0.1 to"),
        ({"cron": None, "tz": "UTC", "every": float("inf")}, "every", "ten years"),
        ({"cron": None, "tz": "UTC", "every": True}, "every", "a number of seconds"),
        ({"start": datetime(2026, 1, 1)}, "start", "add tzinfo=ZoneInfo(...)"),
        ({"end": "tomorrow"}, "end", "a datetime with a time zone"),
        ({"start": END, "end": START}, "end", "exchange them"),
        ({"count": 0}, "count", "leave it out for no limit"),
        ({"jitter": -1}, "jitter", "from 0 to"),
        ({"jitter": None}, "jitter", "a number of seconds"),
        ({"missed": "all"}, "missed", "must be a MissedPolicy"),
        ({"overlap": "both"}, "overlap", '"beside", "skip", "queue", "cancel"'),
        ({"timeout": 0}, "timeout", "from 0.001 to"),
        ({"expires_in": -5}, "expires_in", "from 0.001 to"),
        ({"max_attempts": 0}, "max_attempts", "from 1 to 10000"),
        ({"source": "human"}, "source", '"code", "run time"'),
        ({"release": -1}, "release", "from 0 to"),
        ({"release": None}, "release", "from 0 to"),
        ({"release": True}, "release", "from 0 to"),
        ({"history": ("x",)}, "history", "16 hex digits"),
        ({"history": "0" * 16}, "history", "a list of hashes"),
        ({"payload": {1: 2}}, "payload", "must be JSON"),
        ({"payload": {"a": {1}}}, "payload", "must be JSON"),
        ({"payload": float("nan")}, "payload", "must be JSON"),
        ({"payload": "\ud800"}, "payload", "must be JSON"),
        ({"payload": 10**5000}, "payload", "must be JSON"),
        ({"payload": (1, 2)}, "payload", "must be JSON"),
        ({"payload": deep(DEEPEST + 1)}, "payload", f"at most {DEEPEST} deep"),
        ({"payload": "x" * LARGEST_PAYLOAD}, "payload", "store it elsewhere"),
        ({"payload": MADE_BY_CODE, "source": "run time"}, "payload", "has no code"),
    ],
)
def test_what_cannot_be_is_refused_by_name_with_the_remedy(members: dict[str, Any], member: str, remedy: str) -> None:
    with pytest.raises(ScheduleInvalid) as told:
        schedule(**members)
    assert told.value.member == member
    assert str(told.value).startswith(f"{member}: ")
    assert remedy in str(told.value)
    assert len(str(told.value)) < 400


def test_a_payload_within_itself_is_refused() -> None:
    payload: list[Any] = []
    payload.append(payload)
    with pytest.raises(ScheduleInvalid, match=f"at most {DEEPEST} deep"):
        schedule(payload=payload)


def test_a_deep_payload_that_is_not_too_deep_is_read_again() -> None:
    assert Schedule.from_json(schedule(payload=deep(DEEPEST)).to_json()).payload == deep(DEEPEST)


def test_a_long_history_loses_what_is_oldest() -> None:
    hashes = tuple(f"{each:016x}" for each in range(LONGEST_HISTORY + 5))
    assert schedule(history=hashes).history == hashes[5:]


@pytest.mark.parametrize(
    ("value", "member", "remedy"),
    [
        (b"", "record", "a JSON object in UTF-8"),
        (b"\xff", "record", "a JSON object in UTF-8"),
        (b"[]", "record", "a JSON object"),
        (b"null", "record", "a JSON object"),
        (b"{", "record", "a JSON object"),
        (b"[" * 200_000, "record", "a JSON object"),
        (b'{"a":' * 50_000, "record", "a JSON object"),
        (b'{"v":NaN}', "record", "JSON has no NaN"),
        (b'{"v":' + b"9" * 5000 + b"}", "record", "a JSON object"),
        (b" " * (LARGEST_BYTES + 1), "record", "make the payload smaller"),
        (wire(v=LEFT_OUT), "v", "the version of the record"),
        (wire(v=0), "v", "the version of the record"),
        (wire(v="1"), "v", "the version of the record"),
        (wire(v=True), "v", "the version of the record"),
        (wire(id=LEFT_OUT), "id", "is missing"),
        (wire(queue=LEFT_OUT), "queue", "is missing"),
        (wire(job_type=LEFT_OUT), "job_type", "is missing"),
        (wire(payload=LEFT_OUT), "payload", "is missing"),
        (wire(payload=LEFT_OUT, payload_made_by_code="yes"), "payload", "is missing"),
        (wire(id=["a"]), "id", "1 to 200 letters"),
        (wire(cron={}), "cron", "a cron expression is a text"),
        (wire(tz=["UTC"]), "tz", "Europe/Berlin"),
        (wire(start=5), "start", "a moment such as"),
        (wire(start="2026-01-01T00:00:00"), "start", "must have a time zone"),
        (wire(end="then"), "end", "a moment such as"),
        (wire(missed=[]), "missed", "an object such as"),
        (wire(missed={"action": "some"}), "missed", '"skip", "one" or "all"'),
        (wire(missed={"action": "all", "window": "1"}), "missed.window", "a number of seconds"),
        (wire(missed={"action": "all", "most": 0}), "missed", "from 1 to 1000"),
        (wire(overlap=5), "overlap", '"beside", "skip", "queue", "cancel"'),
        (wire(overlap=[]), "overlap", '"beside", "skip", "queue", "cancel"'),
        (wire(history={}), "history", "a list of hashes"),
        (wire(count="3"), "count", "a whole number"),
        (wire(jitter={}), "jitter", "a number of seconds"),
        (wire(payload=deep(DEEPEST + 1)), "payload", f"at most {DEEPEST} deep"),
    ],
)
def test_a_hostile_record_is_refused_by_name_with_the_remedy(value: bytes, member: str, remedy: str) -> None:
    with pytest.raises(ScheduleInvalid) as told:
        Schedule.from_json(value)
    assert told.value.member == member
    assert remedy in str(told.value)
    assert len(str(told.value)) < 400


_MEMBERS = st.sampled_from(
    [*json.loads(schedule().to_json()), "every", "start", "missed", "history", "source", "release"]
)


@given(
    st.dictionaries(
        _MEMBERS, st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just([]) | st.just({})
    )
)
def test_any_member_of_any_kind_is_read_or_refused(members: dict[str, Any]) -> None:
    try:
        each = Schedule.from_json(wire(**members))
    except ScheduleInvalid:
        return
    assert Schedule.from_json(each.to_json()) == each


@given(st.binary(max_size=50))
def test_any_bytes_are_refused(value: bytes) -> None:
    with pytest.raises(ScheduleInvalid):
        Schedule.from_json(value)


def test_times_are_kept_in_whole_milliseconds() -> None:
    assert schedule(timeout=1.23456).timeout == 1.235
    assert schedule(jitter=timedelta(microseconds=1499)).jitter == 0.001


def test_moments_are_kept_in_utc_and_whole_milliseconds() -> None:
    start = datetime.fromisoformat("2026-01-01T09:00:00.123999+05:00")
    assert schedule(start=start).start == datetime(2026, 1, 1, 4, 0, 0, 123_000, tzinfo=UTC)
