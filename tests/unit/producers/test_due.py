"""When a delayed job falls due: never early, in any zone, and what is no time is refused with the remedy."""

from __future__ import annotations

from calendar import timegm
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers import OptionInvalid
from producers.delayed.due import LONGEST_DELAY_MS, delay_ms, due_ms, moment_ms

NOW = 1_767_225_600_123  # 2026-01-01T00:00:00.123Z
BERLIN = ZoneInfo("Europe/Berlin")

#: Milliseconds by which the arithmetic of floats may be wrong.
ROUNDING = Fraction(1, 1000)


class Nowhere(tzinfo):
    """A zone that does not know its offset, so that its times are naive ones."""

    def utcoffset(self, _: datetime | None) -> None:
        return None

    def dst(self, _: datetime | None) -> None:
        return None

    def tzname(self, _: datetime | None) -> None:
        return None


# -- a delay ----------------------------------------------------------------------------------------------------------


@given(st.floats(0, LONGEST_DELAY_MS / 1000))
def test_a_delay_is_never_short_and_a_millisecond_long_at_most(seconds: float) -> None:
    exact = Fraction(seconds) * 1000
    found = delay_ms("delay", seconds)
    assert exact - found < ROUNDING
    assert found - exact < 1 + ROUNDING


@given(st.integers(0, LONGEST_DELAY_MS * 1000))
def test_a_timedelta_is_never_short_and_a_millisecond_long_at_most(microseconds: int) -> None:
    found = delay_ms("delay", timedelta(microseconds=microseconds))
    assert 0 <= found * 1000 - microseconds <= 1_000


@given(st.integers(0, LONGEST_DELAY_MS // 1000))
def test_whole_seconds_are_exact(seconds: int) -> None:
    assert delay_ms("delay", seconds) == seconds * 1000
    assert delay_ms("delay", float(seconds)) == seconds * 1000
    assert delay_ms("delay", timedelta(seconds=seconds)) == seconds * 1000


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        (0, 0),
        (0.0, 0),
        (-0.0, 0),
        (timedelta(0), 0),
        (1e-300, 0),
        (0.0001, 1),
        (0.001, 1),
        (0.0011, 2),
        (1.0001, 1001),
        (timedelta(microseconds=1), 1),
        (timedelta(days=3652), 3652 * 86_400_000),
        (LONGEST_DELAY_MS / 1000, LONGEST_DELAY_MS),
    ],
)
def test_a_delay_is_rounded_up_to_milliseconds(delay: Any, expected: int) -> None:
    assert delay_ms("delay", delay) == expected
    assert due_ms({"delay": delay}, NOW) == NOW + expected


@pytest.mark.parametrize(
    "delay",
    [
        -1,
        -0.0001,
        timedelta(microseconds=-1),
        float("nan"),
        float("inf"),
        float("-inf"),
        True,
        False,
        "5",
        b"5",
        [5],
        Decimal(5),
        datetime(2027, 1, 1, tzinfo=UTC),
        (LONGEST_DELAY_MS + 1) / 1000,
        1e308,
        10**400,
        timedelta.max,
    ],
)
def test_what_is_no_delay_is_refused(delay: Any) -> None:
    with pytest.raises(
        OptionInvalid, match=r"^delay: expected seconds from 0 to ten years, as a number or a timedelta"
    ):
        due_ms({"delay": delay}, NOW)


# -- a time -----------------------------------------------------------------------------------------------------------


@given(st.datetimes(datetime(1970, 1, 2), datetime(9990, 1, 1), timezones=st.timezones()))
def test_a_time_is_never_early_and_a_millisecond_late_at_most(moment: datetime) -> None:
    whole = timegm(moment.utctimetuple()) * 1000
    milliseconds, more = divmod(moment.microsecond, 1000)
    assert moment_ms("run_at", moment, 10**15) == whole + milliseconds + (more > 0)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 7, 1, 9, tzinfo=BERLIN), datetime(2026, 7, 1, 7, tzinfo=UTC)),
        (datetime(2026, 1, 2, 9, tzinfo=BERLIN), datetime(2026, 1, 2, 8, tzinfo=UTC)),
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=0), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        (datetime(2026, 7, 1, tzinfo=ZoneInfo("Australia/Lord_Howe")), datetime(2026, 6, 30, 13, 30, tzinfo=UTC)),
        (datetime(2026, 2, 1, tzinfo=timezone(timedelta(hours=-3.5))), datetime(2026, 2, 1, 3, 30, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_a_time_is_that_of_its_zone(moment: datetime, expected: datetime) -> None:
    found = due_ms({"run_at": moment}, NOW)
    assert found == timegm(expected.utctimetuple()) * 1000


def test_a_time_that_is_past_is_taken() -> None:
    assert due_ms({"run_at": datetime(2020, 1, 1, tzinfo=UTC)}, NOW) == 1_577_836_800_000
    assert due_ms({"run_at": datetime(1969, 12, 31, tzinfo=UTC)}, NOW) == 0, "a header of it has no sign"
    assert due_ms({"run_at": datetime.min.replace(tzinfo=UTC)}, NOW) == 0


def test_a_time_is_within_ten_years() -> None:
    last = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=NOW + LONGEST_DELAY_MS)
    assert due_ms({"run_at": last}, NOW) == NOW + LONGEST_DELAY_MS
    late: list[datetime] = [
        last + timedelta(microseconds=1),
        datetime.max.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-23))),
    ]
    for moment in late:
        with pytest.raises(OptionInvalid, match="run_at: expected a time within the next ten years"):
            due_ms({"run_at": moment}, NOW)


@pytest.mark.parametrize("moment", [datetime(2027, 3, 1, 9), datetime(2027, 3, 1, 9, tzinfo=Nowhere())])
def test_a_naive_time_is_refused_with_the_remedy(moment: datetime) -> None:
    """Nobody knows when that is: publisher and worker may be in different zones."""
    with pytest.raises(OptionInvalid) as caught:
        due_ms({"run_at": moment}, NOW)
    assert caught.value.option == "run_at"
    said = str(caught.value)
    assert "a datetime with a time zone" in said
    assert "datetime.now(UTC) + timedelta(hours=1)" in said
    assert 'tzinfo=ZoneInfo("Europe/Berlin")' in said


@pytest.mark.parametrize("moment", ["2027-03-01T09:00:00Z", 1_800_000_000, date(2027, 3, 1), timedelta(1), True])
def test_what_is_no_time_is_refused(moment: Any) -> None:
    with pytest.raises(OptionInvalid, match="run_at: expected a datetime with a time zone"):
        due_ms({"run_at": moment}, NOW)


# -- both, or neither -------------------------------------------------------------------------------------------------


def test_a_delay_and_a_time_do_not_go_together() -> None:
    with pytest.raises(OptionInvalid, match="run_at: expected either delay or run_at, and not both"):
        due_ms({"delay": 0, "run_at": datetime(2027, 1, 1, tzinfo=UTC)}, NOW)


def test_neither_is_no_delay() -> None:
    assert due_ms({}, NOW) is None
    assert due_ms({"delay": None, "run_at": None}, NOW) is None
    assert due_ms({"delay": 1, "run_at": None}, NOW) == NOW + 1000
