"""When cron expressions fire, over twenty years and six zones, against an account that knows neither cronsim nor us."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from streams.core.schedule.cron import Cron
from tests.unit.core.schedule.brute import (
    DAY,
    FIRST,
    HOUR,
    LAST,
    MINUTE,
    Read,
    by_minutes,
    changes,
    firings,
)

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "Pacific/Chatham",  # at 02:45 and 03:45
    "Antarctica/Troll",  # two hours
    "America/Santiago",  # at midnight
]

ALL = tuple(range(60))
HOURS = tuple(range(24))


def last_of_month(day: date) -> bool:
    return day.day == monthrange(day.year, day.month)[1]


def is_sunday(day: date) -> bool:
    return day.weekday() == 6


#: Seldom enough to be walked through twenty years in every zone.
SELDOM = [
    Read("30 2 L * *", (2,), (30,), True, last_of_month),
    Read("0 0 31 * *", (0,), (0,), True, lambda day: day.day == 31),
    Read("15 3 * * sun", (3,), (15,), True, is_sunday),
    Read("0 12 29 2 *", (12,), (0,), True, lambda day: (day.month, day.day) == (2, 29)),
    Read("30 0 * 3,4,9 0", (0,), (30,), True, lambda day: day.month in {3, 4, 9} and is_sunday(day)),
    Read("30 2 13 * fri", (2,), (30,), True, lambda day: day.day == 13 or day.weekday() == 4),
    Read("45 1 1-7 4,10 */7", (1,), (45,), True, lambda day: day.month in {4, 10} and day.day <= 7 and is_sunday(day)),
    Read(
        "50 23 * * 6L",
        (23,),
        (50,),
        True,
        lambda day: day.weekday() == 5 and day.day + 7 > monthrange(day.year, day.month)[1],
    ),
    Read("0 3 * * SUN#1", (3,), (0,), True, lambda day: is_sunday(day) and day.day <= 7),
    Read("15 30 2 LW 3,10 *", (2,), (30,), True, lambda day: day.month in {3, 10} and last_workday(day), (15,)),
    Read(
        "*/30 2 * 3,10 0L",
        (2,),
        (0, 30),
        False,
        lambda day: day.month in {3, 10} and is_sunday(day) and day.day + 7 > 31,
    ),
]

DAILY = [
    Read("30 2 * * *", (2,), (30,), True),
    Read("0 0 * * *", (0,), (0,), True),
    Read("10 2 * * *", (2,), (10,), True),
    Read("15 3 * * *", (3,), (15,), True),
    Read("45 1 * * *", (1,), (45,), True),
    Read("59 23 * * *", (23,), (59,), True),
    Read("0,30 1-3 * * *", (1, 2, 3), (0, 30), True),
    Read("0/20 0/1 * * *", HOURS, (0, 20, 40), True),
    Read("20 2 */2 * 1-5", (2,), (20,), True, lambda day: day.day % 2 == 1 and day.weekday() < 5),
    Read("0 9 * * mon-fri", (9,), (0,), True, lambda day: day.weekday() < 5),
    Read("30 15 2 * * *", (2,), (15,), True, seconds=(30,)),
    Read("*/20 30 2 * * *", (2,), (30,), True, seconds=(0, 20, 40)),
    Read("7 59 0,3,23 * * *", (0, 3, 23), (59,), True, seconds=(7,)),
]

#: Runs on as time goes by.
OFTEN = [
    Read("*/15 * * * *", HOURS, (0, 15, 30, 45), False),
    Read("0 */2 * * *", tuple(range(0, 24, 2)), (0,), False),
    Read("*/20 2 * * *", (2,), (0, 20, 40), False),
    Read("30 * * * *", HOURS, (30,), False),
    Read("* * * * *", HOURS, ALL, False),
    Read("*/7 */3 * * *", tuple(range(0, 24, 3)), tuple(range(0, 60, 7)), False),
    Read("5 */3 * * 0", tuple(range(0, 24, 3)), (5,), False, is_sunday),
    Read("10 */5 1-3 * * *", (1, 2, 3), tuple(range(0, 60, 5)), False, seconds=(10,)),
    Read("15 30 */2 * * *", tuple(range(0, 24, 2)), (30,), False, seconds=(15,)),
    Read("*/30 */10 * * * *", HOURS, tuple(range(0, 60, 10)), False, seconds=(0, 30)),
]


def last_workday(day: date) -> bool:
    end = date(day.year, day.month, monthrange(day.year, day.month)[1])
    return day == end - timedelta(days=max(0, end.weekday() - 4))


def at(second: float) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def after(cron: Cron, second: float) -> int | None:
    firing = cron.after(at(second))
    assert firing is None or firing.tzinfo is UTC
    return None if firing is None else int(firing.timestamp())


def up_to(cron: Cron, second: float) -> int | None:
    firing = cron.up_to(at(second))
    return None if firing is None else int(firing.timestamp())


def walked(cron: Cron, first: int, last: int) -> list[int]:
    """All firings from one moment on, up to another and without it."""
    found = []
    firing = after(cron, first - 1)
    while firing is not None and firing < last:
        found.append(firing)
        firing = after(cron, firing)
    return found


def within(expected: list[int], first: int, last: int) -> list[int]:
    return expected[bisect_left(expected, first) : bisect_left(expected, last)]


# -- the account itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ZONES)
def test_the_account_is_that_of_a_walk_through_all_minutes_where_clocks_change(zone: str) -> None:
    for read in (DAILY[0], DAILY[6], DAILY[7], OFTEN[0], OFTEN[1], SELDOM[2]):
        for change in changes(zone)[:2]:
            first, last = change - 5 * HOUR, change + 8 * HOUR
            assert by_minutes(read, zone, first, last) == firings(read, zone, first, last), read


def test_every_zone_changes_as_it_is_here_for() -> None:
    assert {zone: len(changes(zone)) for zone in ZONES} == dict.fromkeys(ZONES, 40)


# -- against the account ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", SELDOM, ids=str)
@pytest.mark.parametrize("zone", ZONES)
def test_all_firings_of_twenty_years(zone: str, read: Read) -> None:
    assert walked(Cron.parse(read.text, zone), FIRST, LAST) == firings(read, zone)


@pytest.mark.parametrize("zone", ZONES)
def test_all_days_of_twenty_years(zone: str) -> None:
    read = DAILY[ZONES.index(zone) % 2]
    assert walked(Cron.parse(read.text, zone), FIRST, LAST) == firings(read, zone)


@pytest.mark.parametrize("read", DAILY, ids=str)
@pytest.mark.parametrize("zone", ZONES)
def test_times_of_the_day_where_clocks_change(zone: str, read: Read) -> None:
    cron, expected = Cron.parse(read.text, zone), firings(read, zone)
    for change in changes(zone):
        first, last = change - 6 * HOUR, change + 6 * HOUR
        assert walked(cron, first, last) == within(expected, first, last), at(change)


@pytest.mark.parametrize("read", OFTEN, ids=str)
@pytest.mark.parametrize("zone", ZONES)
def test_what_runs_on_where_clocks_change(zone: str, read: Read) -> None:
    cron = Cron.parse(read.text, zone)
    for change in changes(zone)[:: 1 if len(read.times()) < 100 else 7]:
        first, last = change - 4 * HOUR, change + 4 * HOUR
        assert walked(cron, first, last) == firings(read, zone, first, last), at(change)


@pytest.mark.parametrize("read", [*DAILY, *OFTEN, *SELDOM], ids=str)
@pytest.mark.parametrize("zone", ZONES)
def test_the_next_and_the_last_firing_of_any_moment(zone: str, read: Read) -> None:
    """Most of all of moments near changes, within times that come twice, and at the very second."""
    cron, chance = Cron.parse(read.text, zone), random.Random(read.text + zone)
    first, last = FIRST, FIRST + (2 * 366 if read.keeps_to_clock else 340) * DAY
    expected = firings(read, zone, first, last)
    near = [change for change in changes(zone) if change < last - 40 * DAY][:3]
    moments = [change + chance.randrange(-4 * HOUR, 4 * HOUR) for change in near for _ in range(12)]
    moments += [change + each for change in near for each in (-HOUR, -1, 0, 1, 29 * MINUTE, 30 * MINUTE, HOUR - 1)]
    moments += [expected[len(expected) // 2] + each for each in (-1, 0, 1)] if expected else []
    moments += [chance.randrange(first + DAY, last) for _ in range(10)]
    for moment in moments:
        index = bisect_right(expected, moment)
        if index < len(expected):
            assert after(cron, moment) == after(cron, moment + 0.999) == expected[index], at(moment)
        if index:
            assert up_to(cron, moment) == up_to(cron, moment + 0.999) == expected[index - 1], at(moment)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_leap_days_to_2096(zone: str) -> None:
    cron = Cron.parse("30 2 29 2 *", zone)
    years = [year for year in range(2026, 2097) if year % 4 == 0]
    expected = [int(datetime(year, 2, 29, 2, 30, tzinfo=ZoneInfo(zone)).timestamp()) for year in years]
    assert walked(cron, FIRST, expected[-1] + 1) == expected
    # 2100 is no leap year.
    assert after(cron, expected[-1]) == int(datetime(2104, 2, 29, 2, 30, tzinfo=ZoneInfo(zone)).timestamp())


def test_a_leap_day_on_a_given_weekday_may_be_forty_years_away() -> None:
    cron = Cron.parse("0 0 29 2 */7")
    sundays = [date(year, 2, 29) for year in range(2028, 2133, 4) if year != 2100]
    expected = [each for each in sundays if is_sunday(each)]
    assert [
        at(each).date() for each in walked(cron, FIRST, int(datetime(2133, 1, 1, tzinfo=UTC).timestamp()))
    ] == expected
    assert max(later.year - earlier.year for earlier, later in pairwise(expected)) == 40


def test_month_ends_of_twenty_years() -> None:
    ends = [date(year, month, monthrange(year, month)[1]) for year in range(2026, 2046) for month in range(1, 13)]
    assert [at(each).date() for each in walked(Cron.parse("0 0 L * *"), FIRST, LAST)] == ends
    thirty_first = [each for each in ends if each.day == 31]
    assert [at(each).date() for each in walked(Cron.parse("0 0 31 * *"), FIRST, LAST)] == thirty_first


# -- the rule, by example ---------------------------------------------------------------------------------------------


def local(cron: Cron, first: str, last: str) -> list[str]:
    """Firings after a local time and up to another, as the clock shows them."""
    zone = ZoneInfo(cron.tz)
    moment: datetime | None = datetime.fromisoformat(first).replace(tzinfo=zone)
    until = datetime.fromisoformat(last).replace(tzinfo=zone).astimezone(UTC)
    found = []
    while moment is not None and (moment := cron.after(moment)) is not None and moment <= until:
        found.append(f"{moment.astimezone(zone):%d %H:%M:%S %Z}")
    return found


@pytest.mark.parametrize(
    ("expression", "first", "last", "expected"),
    [
        # A time that the clock skips runs at the first moment after the gap, and once for all of them.
        ("30 2 * * *", "2026-03-28 12:00", "2026-03-30 12:00", ["29 03:00:00 CEST", "30 02:30:00 CEST"]),
        ("0,30 2,3 * * *", "2026-03-29 00:00", "2026-03-29 12:00", ["29 03:00:00 CEST", "29 03:30:00 CEST"]),
        ("15 30 2 * * *", "2026-03-28 12:00", "2026-03-29 12:00", ["29 03:00:00 CEST"]),
        ("*/20 30 2 * * *", "2026-03-28 12:00", "2026-03-29 12:00", ["29 03:00:00 CEST"]),
        # One that comes twice runs once, at the first.
        ("30 2 * * *", "2026-10-24 12:00", "2026-10-26 12:00", ["25 02:30:00 CEST", "26 02:30:00 CET"]),
        ("15 30 2 * * *", "2026-10-24 12:00", "2026-10-25 12:00", ["25 02:30:15 CEST"]),
        # What runs on runs on.
        ("*/30 * * * *", "2026-03-29 01:00", "2026-03-29 03:30",
         ["29 01:30:00 CET", "29 03:00:00 CEST", "29 03:30:00 CEST"]),
        ("*/30 * * * *", "2026-10-25 01:30", "2026-10-25 03:00",
         ["25 02:00:00 CEST", "25 02:30:00 CEST", "25 02:00:00 CET", "25 02:30:00 CET", "25 03:00:00 CET"]),
        ("*/30 2 * * *", "2026-03-28 12:00", "2026-03-30 02:15", ["30 02:00:00 CEST"]),
    ],
)  # fmt: skip
def test_the_rule_of_debians_cron(expression: str, first: str, last: str, expected: list[str]) -> None:
    assert local(Cron.parse(expression, "Europe/Berlin"), first, last) == expected


def test_a_moment_within_the_second_pass_has_its_next_firing_after_it() -> None:
    """cronsim forgets which of the two passes a moment is in, and goes back."""
    cron = Cron.parse("30 2 * * *", "Europe/Berlin")
    second_pass = datetime(2026, 10, 25, 2, 10, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    assert cron.after(second_pass) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert cron.up_to(second_pass) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_a_day_that_a_zone_has_left_out_fires_after_it() -> None:
    """Samoa went from the 29th to the 31st of December 2011."""
    assert local(Cron.parse("0 9 30 * *", "Pacific/Apia"), "2011-12-01", "2012-01-30 12:00") == [
        "31 00:00:00 +14",
        "30 09:00:00 +14",
    ]


def test_an_hour_that_is_always_skipped_on_its_date_never_comes() -> None:
    """The last Sunday of March has no two o'clock in Berlin; the search for one ends."""
    cron = Cron.parse("*/5 2 25-31 3 */7", "Europe/Berlin")
    assert cron.after(at(FIRST)) is None
    assert cron.up_to(at(LAST)) is None
    # There was one on that date before 1981, when summer time began in April or not at all.
    assert cron.up_to(datetime(1990, 1, 1, tzinfo=UTC)) == datetime(1980, 3, 30, 1, 55, tzinfo=UTC)


def test_there_is_an_end_to_time() -> None:
    cron = Cron.parse("0 0 1 1 *", "America/New_York")
    assert cron.after(datetime(9998, 6, 1, tzinfo=UTC)) == datetime(9999, 1, 1, 5, tzinfo=UTC)
    assert cron.after(datetime(9999, 6, 1, tzinfo=UTC)) is None
    assert Cron.parse("*/5 * * * *", "Asia/Tokyo").after(datetime(9999, 12, 31, 23, 58, tzinfo=UTC)) is None
    assert cron.up_to(datetime(1, 1, 1, tzinfo=UTC)) is None


def test_a_naive_moment_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"must be a datetime with a time zone.*datetime.now\(UTC\)"):
        Cron.parse("@daily").after(datetime(2026, 1, 1))


def test_a_cron_is_a_value() -> None:
    assert Cron.parse("0 9 * * *", "Europe/Berlin") == Cron("0 9 * * *", "Europe/Berlin")
    assert Cron.parse("0 9 * * *", "Europe/Berlin") != Cron.parse("0 9 * * *")
    assert len({Cron.parse("@daily"), Cron.parse("@daily")}) == 1


def test_milliseconds_are_those_of_the_epoch() -> None:
    cron = Cron.parse("@hourly")
    assert cron.after_ms(FIRST * 1000) == (FIRST + HOUR) * 1000
    assert cron.after_ms(FIRST * 1000 - 1) == cron.up_to_ms(FIRST * 1000) == FIRST * 1000
    assert cron.up_to_ms(FIRST * 1000 - 1) == (FIRST - HOUR) * 1000
    assert cron.count(FIRST * 1000, (FIRST + DAY) * 1000, 1000) == 24
    assert cron.count(FIRST * 1000, (FIRST + DAY) * 1000, 5) == 5
