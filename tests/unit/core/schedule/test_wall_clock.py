"""Clocks on the wall: zones by name, and when a clock shows a time that is skipped, or comes twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from streams.core.schedule.cron import Cron
from streams.core.schedule.expression import CronInvalid
from streams.core.schedule.wall_clock import (
    ZoneUnknown,
    change_after,
    first_shown,
    last_shown,
    latest_shown,
    shown,
    zone_of,
)

BERLIN = ZoneInfo("Europe/Berlin")
FORWARD, BACK = datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("New York", "America/New_York"),
        ("Ushuaia", "America/Argentina/Ushuaia"),
        ("america/new york", "America/New_York"),
        ("+02:00", "write one such as Europe/Berlin or UTC"),
        ("", "write one such as Europe/Berlin or UTC"),
        ("xyzzy plugh", "write one such as Europe/Berlin or UTC"),
        ("Europe", "is no time zone"),
        ("../../etc/passwd", "is no time zone"),
        ("/etc/localtime", "is no time zone"),
        ("localtime", "is no time zone"),
        ("posixrules", "is no time zone"),
        ("right/Europe/Berlin", "did you mean Europe/Berlin"),
        ("Europe/Berlin\0", "Europe/Berlin"),
        ("x" * 1000, "is the name of one, such as Europe/Berlin or UTC"),
        (None, "is the name of one, such as Europe/Berlin or UTC, not 'None'"),
        (2, "is the name of one, such as Europe/Berlin or UTC, not '2'"),
    ],
)
def test_an_unknown_zone_is_told_with_those_that_are_like_it(name: str, remedy: str) -> None:
    with pytest.raises(ZoneUnknown) as told:
        Cron.parse("@daily", name)
    assert isinstance(told.value, CronInvalid)
    assert remedy in str(told.value)
    assert len(str(told.value)) < 300


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_a_zone_of_the_database_is_known(name: str) -> None:
    assert zone_of(name).key == name


@pytest.mark.parametrize(
    ("wall", "first", "last"),
    [
        ("2026-03-29 01:59:59", FORWARD - timedelta(seconds=1), FORWARD - timedelta(seconds=1)),
        ("2026-03-29 02:00", FORWARD, FORWARD),
        ("2026-03-29 02:30", FORWARD, FORWARD),
        ("2026-03-29 02:59:59", FORWARD, FORWARD),
        ("2026-03-29 03:00", FORWARD, FORWARD),
        ("2026-10-25 02:00", BACK - timedelta(hours=1), BACK),
        ("2026-10-25 02:30", BACK - timedelta(minutes=30), BACK + timedelta(minutes=30)),
        ("2026-10-25 03:00", BACK + timedelta(hours=1), BACK + timedelta(hours=1)),
    ],
)
def test_when_a_clock_shows_a_time(wall: str, first: datetime, last: datetime) -> None:
    assert first_shown(BERLIN, datetime.fromisoformat(wall)) == first
    assert last_shown(BERLIN, datetime.fromisoformat(wall)) == last


def test_a_clock_that_was_put_back_has_shown_more_than_it_shows() -> None:
    during = BACK + timedelta(minutes=10)
    assert shown(BERLIN, during) == datetime(2026, 10, 25, 2, 10)
    assert latest_shown(BERLIN, during) == datetime(2026, 10, 25, 2, 59, 59)
    assert latest_shown(BERLIN, BACK + timedelta(hours=2)) == datetime(2026, 10, 25, 4)
    assert latest_shown(BERLIN, FORWARD + timedelta(minutes=10)) == datetime(2026, 3, 29, 3, 10)


def test_a_change_is_found_to_the_second() -> None:
    for change in (FORWARD, BACK):
        assert change_after(BERLIN, change - timedelta(hours=20), change + timedelta(hours=3)) == change
        assert change_after(BERLIN, change - timedelta(seconds=1), change) == change
