"""Cron expressions as text: mistakes and their remedies, dates that never come, words."""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import given
from hypothesis import strategies as st

from streams.core.schedule.cron import Cron
from streams.core.schedule.expression import LONGEST, NAMED, CronInvalid, checked, keeps_to_the_clock, words

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "fields"),
    [
        ("0 9 * * mon-fri", "0 0 9 * * MON-FRI"),
        ("  0   9 * * *  ", "0 0 9 * * *"),
        ("15 0 9 * * *", "15 0 9 * * *"),
        ("@daily", "0 0 0 * * *"),
        ("@HOURLY", "0 0 * * * *"),
        ("@weekly", "0 0 0 * * 0"),
        ("@monthly", "0 0 0 1 * *"),
        ("@yearly", "0 0 0 1 1 *"),
        ("0 0 L * *", "0 0 0 L * *"),
        ("0 0 * jan,JUL 5#2", "0 0 0 * JAN,JUL 5#2"),
        ("0 0 30 2 mon", "0 0 0 30 2 MON"),  # or: on Mondays in February
    ],
)
def test_an_expression_becomes_six_fields(expression: str, fields: str) -> None:
    assert checked(expression) == fields


@pytest.mark.parametrize(
    ("expression", "problem", "remedy"),
    [
        ("", "has 0 fields", "write five"),
        ("* * * *", "has 4 fields", "six with the seconds before them"),
        ("* * * * * * *", "has 7 fields", "write five"),
        ("60 * * * *", "the minutes cannot be '60'", "write 0 to 59"),
        ("* 24 * * *", "the hours cannot be '24'", "write 0 to 23"),
        ("* * 0 * *", "the day of the month cannot be '0'", "L (the last day)"),
        ("* * 32 * *", "the day of the month cannot be '32'", "write 1 to 31"),
        ("* * * 13 *", "the month cannot be '13'", "JAN to DEC"),
        ("* * * foo *", "the month cannot be 'foo'", "JAN to DEC"),
        ("* * * * 8", "the day of the week cannot be '8'", "0 to 7 (Sunday is both)"),
        ("* * * * 5#6", "the day of the week cannot be '5#6'", "5#2 (the second)"),
        ("* * * * fri-mon", "the day of the week cannot be 'fri-mon'", "write fri,sat,sun,mon"),
        ("* * ? * *", "cannot be '?'", "write * in place of ?"),
        ("61 * * * * *", "the seconds cannot be '61'", "write 0 to 59"),
        ("-1 * * * *", "the minutes cannot be '-1'", "write 0 to 59"),
        ("5-1 * * * *", "the minutes cannot be '5-1'", "as a range (1-5)"),
        ("1.5 * * * *", "the minutes cannot be '1.5'", "single"),
        ("*/0 * * * *", "the minutes cannot be '*/0'", "with a step (*/5)"),
        ("*/90 * * * *", "the step 90 in the minutes (*/90) is wider than all of them", "use an interval"),
        ("0 */24 * * *", "the step 24 in the hours", "would fire at the first alone"),
        ("٣ * * * *", "the minutes cannot be '٣'", "write 0 to 59"),
        ("0 0 30 2 *", "no such date exists: day 30 of month 2", "choose days that the months have"),
        ("0 0 31 2,4,jun *", "no such date exists: day 31 of month 2,4,jun", "L for the last one"),
        ("0 0 31 2 */2", "no such date exists: day 31 of month 2 that is also day */2 of the week", "choose days"),
        ("0 0 LW * */6", "no such date exists: day lw of every month that is also day */6 of the week", "choose days"),
        ("0 0 */30 * 1#3", "no such date exists: day */30 of every month", "choose days"),
        ("@dayly", "'@dayly' is no name of a schedule", "did you mean @daily?"),
        ("@reboot", "is no name of a schedule", "there are @hourly"),
        ("1," * LONGEST + "1 * * * *", "has 521 characters, more than 256", "use ranges (1-5)"),
        (None, "a cron expression is a text", '"0 9 * * mon-fri"'),
        (5, "a cron expression is a text", "not 5"),
        (b"* * * * *", "a cron expression is a text", "not b'"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(expression: str, problem: str, remedy: str) -> None:
    with pytest.raises(CronInvalid) as told:
        Cron.parse(expression)
    assert problem in str(told.value)
    assert remedy in str(told.value)


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 29 2 */7",
        "0 0 30 2 *",
        "0 0 LW * */6",
        "59 59 23 31 12 *",
        "59 59 23 29 2 */6",
        "* * * * * *",
        "*/5 2 25-31 3 */7",
        "0 0 */30 * 1#3",
        "9" * 255,
        "*/" + "9" * 250,
        "1-" * 120,
        "," * 255,
        "* " * 127,
        "*/1/1/1/1/1/1 * * * *",
        "0 0 29 2 3#5",
        "@" * 200,
    ],
)
def test_a_hostile_expression_costs_milliseconds(expression: str) -> None:
    """The best of three, since other programs run beside the test."""
    assert min(_cost(expression) for _ in range(3)) < 0.05


def _cost(expression: str) -> float:
    begun = perf_counter()
    try:
        cron = Cron.parse(expression, "Europe/Berlin")
    except CronInvalid:
        return perf_counter() - begun
    cron.after(NOW)
    cron.up_to(NOW)
    return perf_counter() - begun


_FIELD = st.text("0123456789*/-,#L?WMONSUFRIJA ", max_size=8)


@given(st.lists(_FIELD, min_size=4, max_size=7).map(" ".join))
def test_any_text_is_an_expression_that_works_or_is_refused(text: str) -> None:
    try:
        cron = Cron.parse(text)
    except CronInvalid:
        return
    firing = cron.after(NOW)
    assert firing is not None  # in UTC, whatever parses fires
    assert firing > NOW
    last = cron.up_to(firing)
    assert last == firing
    assert cron.words()


@given(st.lists(_FIELD.map(str.strip), min_size=5, max_size=6).map(" ".join))
def test_what_is_accepted_means_what_cronsim_makes_of_it(text: str) -> None:
    """But for what it lets pass: dates that never come, and steps that are too wide."""
    try:
        Cron.parse(text)
        accepted = True
    except CronInvalid as error:
        accepted = False
        if "never fire" in str(error) or "is wider than" in str(error):
            return
    try:
        CronSim(text, datetime(2000, 1, 1))
        assert accepted
    except CronSimError:
        assert not accepted


@pytest.mark.parametrize(
    ("expression", "keeps"),
    [
        ("30 2 * * *", True),
        ("0,30 1-5 * * *", True),
        ("0/15 0-23/2 * * *", True),
        ("*/15 * * * *", False),
        ("0 * * * *", False),
        ("*/5 2 * * *", False),
        ("0 */2 * * *", False),
        ("* 30 2 * * *", True),
        ("*/10 * * * * *", False),
    ],
)
def test_times_of_the_day_keep_to_the_clock(expression: str, keeps: bool) -> None:
    assert keeps_to_the_clock(checked(expression)) is keeps


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 9 * * mon-fri", "at 09:00 on weekdays"),
        ("0 9 * * 1-5", "at 09:00 on weekdays"),
        ("0 9 * * *", "at 09:00 every day"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/2 * * * *", "every 2 minutes"),
        ("*/7 * * * *", "every seventh minute of every hour"),
        ("*/30 * * * * *", "every 30 seconds"),
        ("0 */6 * * *", "every 6 hours"),
        ("* * * * *", "every minute"),
        ("* * * * * *", "every second"),
        ("@hourly", "at the start of every hour"),
        ("0 0 31 * *", "at 00:00 on the 31st day of every month"),
        ("0 0 22 * *", "at 00:00 on the 22nd day of every month"),
        ("0 0 12 * *", "at 00:00 on the 12th day of every month"),
        ("0 0 13 * *", "at 00:00 on the 13th day of every month"),
        ("0 0 23 * *", "at 00:00 on the 23rd day of every month"),
        ("0 0 L * *", "at 00:00 on the last day of every month"),
        ("0 0 * * fri#2", "at 00:00 on the second Friday of the month"),
        ("30 8 1 jan *", "at 08:30 on January 1"),
        ("*/2 5 * * *", "every other minute from 05:00 through 05:59"),
    ],
)
def test_an_expression_reads_in_words(expression: str, expected: str) -> None:
    assert words(checked(expression)) == expected


def test_the_words_of_a_cron_name_its_zone() -> None:
    assert Cron.parse("0 9 * * mon-fri", "Europe/Berlin").words() == "at 09:00 on weekdays, Europe/Berlin"


def test_every_name_works() -> None:
    assert all(Cron.parse(name).after(NOW) for name in NAMED)
