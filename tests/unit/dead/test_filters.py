"""Filters, and the times in them."""

from __future__ import annotations

import pytest

from streams.dead import FilterInvalid, Filters, parse_time
from tests.unit.dead.letters import NOW, letter

LETTER = letter(
    ("ce_id", b"one"),
    ("job-error-type", b"shop.errors.OutOfStock"),
    ("job-error-message", "no more Stühle".encode()),
    ("job-last-failed-at", b"1000"),
    offset=7,
    key=b"\x1b\xff",
    type="jobs.shop.Order",
)


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        (Filters(), True),
        (Filters(type="jobs.shop.Order"), True),
        (Filters(type="jobs.shop"), False),
        (Filters(key="\x1b\\xff"), True),
        (Filters(key="\\x1b\\xff"), True),
        (Filters(key="k"), False),
        (Filters(error="outofstock"), True),
        (Filters(error="STÜHLE"), True),
        (Filters(error="tables"), False),
        (Filters(since=1000), True),
        (Filters(since=1001), False),
        (Filters(until=1001), True),
        (Filters(until=1000), False),
        (Filters(id="one"), True),
        (Filters(id="on"), False),
        (Filters(partition=1), True),
        (Filters(partition=0), False),
        (Filters(partition=1, offset=7), True),
        (Filters(partition=1, offset=6), False),
        (Filters(id="one", error="tables"), False),
    ],
)
def test_what_matches(filters: Filters, matches: bool) -> None:
    assert filters.match(LETTER) is matches


def test_a_letter_without_a_time_of_failure_has_that_of_its_record() -> None:
    assert Filters(since=NOW).match(letter(("job-last-failed-at", b"soon")))
    assert not Filters(until=NOW).match(letter())


def test_a_letter_without_a_key_matches_no_key() -> None:
    assert not Filters(key="None").match(letter(key=None))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", NOW - 7_200_000),
        ("1.5s", NOW - 1500),
        ("250ms", NOW - 250),
        ("3d", NOW - 3 * 86_400_000),
        ("2026-01-31", 1_769_817_600_000),
        ("2026-01-31T08:15:30Z", 1_769_847_330_000),
        ("2026-01-31T08:15:30.123", 1_769_847_330_123),
        ("2026-01-31T10:15:30+02:00", 1_769_847_330_000),
    ],
)
def test_times(text: str, moment: int) -> None:
    assert parse_time(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "2 h", "-2h", "2y", "2026-13-01", "²h", "0001-01-01T00:00:00+24:00"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(FilterInvalid, match="ISO 8601"):
        parse_time(text, NOW)


def test_filters_that_cannot_be_meant() -> None:
    with pytest.raises(FilterInvalid, match="name the partition"):
        Filters(offset=3)
    with pytest.raises(FilterInvalid, match="empty"):
        Filters(since=5, until=5)
