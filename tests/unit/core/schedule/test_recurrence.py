"""Recurrences: start, end, count, and a jitter that is the same wherever it is worked out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.schedule.cron import Cron
from streams.core.schedule.interval import Interval
from streams.core.schedule.recurrence import LAST_MS, Recurrence, RecurrenceInvalid, Rule

HOUR = 3_600_000
START = datetime(2026, 1, 1, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)

rules: st.SearchStrategy[Rule] = st.one_of(
    st.builds(Interval, st.integers(1, 10 * HOUR), st.integers(0, 10 * HOUR)),
    st.sampled_from(["* * * * * *", "*/7 * * * *", "0 9 * * mon-fri", "30 2 * * *"]).map(
        lambda expression: Cron.parse(expression, "Europe/Berlin")
    ),
)


def walked(recurrence: Recurrence, after_ms: int, *, most: int = 100) -> list[int]:
    found: list[int] = []
    nominal: int | None = after_ms
    while nominal is not None and len(found) < most:
        nominal = recurrence.next_after(nominal, len(found))
        found += [] if nominal is None else [nominal]
    return found


def test_firings_begin_at_the_start_and_end_at_the_end_both_included() -> None:
    recurrence = Recurrence.of(Interval(HOUR), start=START, end=START + timedelta(hours=3))
    assert walked(recurrence, 0) == [START_MS + each * HOUR for each in range(4)]
    assert recurrence.next_after(START_MS + 3 * HOUR, 4) is None
    assert recurrence.last_up_to(START_MS) == START_MS
    assert recurrence.last_up_to(START_MS + 9 * HOUR) == START_MS + 3 * HOUR


@pytest.mark.parametrize("rule", [Interval(HOUR), Cron.parse("@hourly")])
def test_a_start_or_end_between_firings_leaves_out_what_is_beyond(rule: Rule) -> None:
    start, end = START + timedelta(milliseconds=1), START + timedelta(hours=3, milliseconds=-1)
    recurrence = Recurrence.of(rule, start=start, end=end)
    assert walked(recurrence, 0) == [START_MS + HOUR, START_MS + 2 * HOUR]
    assert recurrence.last_up_to(START_MS + 9 * HOUR) == START_MS + 2 * HOUR
    assert recurrence.last_up_to(START_MS + HOUR) == START_MS + HOUR
    assert recurrence.last_up_to(START_MS + HOUR - 1) is None


def test_a_count_ends_it() -> None:
    recurrence = Recurrence.of(Interval(HOUR), count=3)
    assert len(walked(recurrence, START_MS)) == 3
    assert not recurrence.is_over(2)
    assert recurrence.is_over(3)
    # Of a definition whose count was made smaller.
    assert recurrence.next_after(START_MS, 5) is None


@given(rules, st.integers(START_MS, START_MS + 400 * 24 * HOUR))
def test_the_last_up_to_a_moment_is_followed_by_none_up_to_it(rule: Rule, moment: int) -> None:
    recurrence = Recurrence(rule=rule)
    last = recurrence.last_up_to(moment)
    assert last is not None
    assert last <= moment
    following = recurrence.next_after(last, 0)
    assert following is not None
    assert following > moment
    assert recurrence.last_up_to(following) == following


@given(rules, st.integers(START_MS, START_MS + 400 * 24 * HOUR), st.integers(0, 10 * HOUR), st.text(max_size=20))
def test_a_jitter_delays_each_firing_and_none_beyond_the_next(rule: Rule, moment: int, jitter: int, name: str) -> None:
    recurrence = Recurrence(rule=rule, jitter_ms=jitter)
    first = recurrence.next_after(moment, 0)
    assert first is not None
    second = recurrence.next_after(first, 1)
    assert second is not None
    assert first <= recurrence.due_ms(name, first) <= first + jitter
    assert recurrence.due_ms(name, first) < second
    assert recurrence.due_ms(name, first) == Recurrence(rule=rule, jitter_ms=jitter).due_ms(name, first)


def test_a_jitter_is_spread_over_all_of_its_time_and_differs_by_schedule() -> None:
    recurrence = Recurrence.of(Cron.parse("@hourly"), jitter=60)
    by_name = [recurrence.due_ms(f"schedule-{each}", START_MS) - START_MS for each in range(1000)]
    by_time = [recurrence.due_ms("a", START_MS + each * HOUR) - START_MS - each * HOUR for each in range(1000)]
    for delays in (by_name, by_time):
        assert 0 <= min(delays) < 1000
        assert 59_000 < max(delays) <= 60_000
        assert 27_000 < sum(delays) / len(delays) < 33_000
        assert len(set(delays)) > 900


def test_a_jitter_is_the_same_on_every_machine() -> None:
    """Another value would have the owners of two versions fire at different times."""
    recurrence = Recurrence.of(Cron.parse("@hourly"), jitter=60)
    assert recurrence.due_ms("reports/daily", START_MS) - START_MS == JITTER


JITTER = 26729


def test_without_a_next_firing_the_jitter_is_used_in_full() -> None:
    recurrence = Recurrence(rule=Cron.parse("0 0 1 1 *"), jitter_ms=60_000)
    last = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp() * 1000)
    assert last <= recurrence.due_ms("a", last) <= last + 60_000


def test_there_is_an_end_to_time() -> None:
    recurrence = Recurrence(rule=Cron.parse("@daily", "Asia/Tokyo"), start_ms=LAST_MS)
    assert recurrence.next_after(0, 0) is None
    assert recurrence.last_up_to(LAST_MS - 1) is None


def test_a_moment_of_any_zone_is_that_moment() -> None:
    elsewhere = START.astimezone(timezone(timedelta(hours=5)))
    assert Recurrence.of(Interval(HOUR), start=elsewhere) == Recurrence(rule=Interval(HOUR), start_ms=START_MS)


@pytest.mark.parametrize(
    ("options", "member", "remedy"),
    [
        ({"start": datetime(2026, 1, 1)}, "start", "add tzinfo=ZoneInfo(...)"),
        ({"end": datetime(2026, 1, 1)}, "end", "or use datetime.now(UTC)"),
        ({"start": "2026-01-01"}, "start", "a datetime with a time zone"),
        ({"start": datetime(1969, 12, 31, tzinfo=UTC)}, "start", "not be before 1970"),
        ({"start": START, "end": START - timedelta(milliseconds=1)}, "end", "exchange them"),
        ({"count": 0}, "count", "from 1 on"),
        ({"count": 1.0}, "count", "from 1 on"),
        ({"count": True}, "count", "from 1 on"),
        ({"jitter": -1}, "jitter", "from 0 to"),
        ({"jitter": float("nan")}, "jitter", "from 0 to"),
        ({"jitter": 1e12}, "jitter", "ten years"),
        ({"jitter": "5"}, "jitter", "a number of seconds"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(options: dict[str, Any], member: str, remedy: str) -> None:
    with pytest.raises(RecurrenceInvalid) as told:
        Recurrence.of(Interval(HOUR), **options)
    assert told.value.member == member
    assert remedy in str(told.value)


def test_a_rule_is_one() -> None:
    with pytest.raises(RecurrenceInvalid, match="rule: must be a Cron or an Interval"):
        Recurrence(rule="@daily")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"start_ms": -1}, {"end_ms": LAST_MS + 1}, {"start_ms": 0.5}, {"jitter_ms": -1}, {"jitter_ms": 0.5}]
)
def test_milliseconds_have_bounds(options: dict[str, Any]) -> None:
    with pytest.raises(RecurrenceInvalid):
        Recurrence(rule=Interval(HOUR), **options)
