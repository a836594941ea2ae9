"""When expressions fire, worked out without cronsim and without the module under test.

An expression is written down twice: as text, and as the times and dates that a person reads in it. A zone's clock is
written down as stretches of one offset from UTC each, found by asking zoneinfo for every hour, and for every minute of
the hours in which the offset changes. Then the rule, in two sentences:

* What keeps to the clock fires when the clock passes a matching time for the first time. In the first moment after a
  gap it passes all times of the gap; while it repeats times, it passes none.
* Anything else fires at every instant at which the clock shows a matching time.

`by_minutes` is the same rule, walked minute by minute, to hold `firings` to it where clocks change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

DAY, HOUR, MINUTE = 86_400, 3600, 60
_EPOCH = date(1970, 1, 1).toordinal()

#: Seconds since 1970, as all times here.
FIRST = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(2046, 1, 1, tzinfo=UTC).timestamp())


def any_day(day: date) -> bool:
    del day
    return True


@dataclass(frozen=True)
class Read:
    """An expression, and what a person reads in it."""

    text: str
    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    keeps_to_clock: bool
    day: Callable[[date], bool] = any_day
    seconds: tuple[int, ...] = (0,)

    def __str__(self) -> str:
        return self.text

    def times(self) -> list[int]:
        """Seconds since midnight."""
        return [h * HOUR + m * MINUTE + s for h in self.hours for m in self.minutes for s in self.seconds]


class Stretch(NamedTuple):
    """A time without changes: from and to (not included), in UTC, and the offset of the clock."""

    start: int
    end: int
    offset: int


def offset_at(zone: ZoneInfo, second: int) -> int:
    offset = datetime.fromtimestamp(second, zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


@cache
def stretches(name: str, first: int = FIRST, last: int = LAST) -> list[Stretch]:
    zone = ZoneInfo(name)
    first, last = first - 3 * DAY, last + 3 * DAY
    found, start, offset = [], first, offset_at(zone, first)
    for hour in range(first, last, HOUR):
        if offset_at(zone, hour + HOUR) == offset:
            continue
        change = next(each for each in range(hour, hour + HOUR + 1, MINUTE) if offset_at(zone, each) != offset)
        found.append(Stretch(start, change, offset))
        start, offset = change, offset_at(zone, change)
    return [*found, Stretch(start, last, offset)]


def changes(name: str) -> list[int]:
    return [each.end for each in stretches(name)[:-1]]


def _walls(read: Read, start: int, end: int) -> Iterator[int]:
    """Matching times on the wall, in seconds as if the wall were in Greenwich."""
    times = read.times()
    for day in range(start // DAY, end // DAY + 1):
        if read.day(date.fromordinal(_EPOCH + day)):
            yield from (day * DAY + each for each in times if start <= day * DAY + each < end)


def firings(read: Read, name: str, first: int = FIRST, last: int = LAST) -> list[int]:
    found: set[int] = set()
    passed: int | None = None
    for start, end, offset in stretches(name, first, last):
        shown, until = start + offset, end + offset
        if not read.keeps_to_clock or passed is None:
            found.update(wall - offset for wall in _walls(read, shown, until))
        else:
            if any(_walls(read, passed, shown)):
                found.add(start)
            found.update(wall - offset for wall in _walls(read, max(passed, shown), until))
        passed = until if passed is None else max(passed, until)
    return sorted(each for each in found if first <= each < last)


def by_minutes(read: Read, name: str, first: int, last: int) -> list[int]:
    """For expressions without seconds."""
    zone = ZoneInfo(name)
    found = []
    passed: datetime | None = None
    for second in range(first - 2 * HOUR, last, MINUTE):
        wall = datetime.fromtimestamp(second, zone).replace(tzinfo=None, fold=0)
        if not read.keeps_to_clock or passed is None:
            fires = _matches(read, wall)
        else:
            count = (wall - passed) // timedelta(minutes=1)
            fires = any(_matches(read, passed + timedelta(minutes=each)) for each in range(1, count + 1))
        if fires and second >= first:
            found.append(second)
        passed = wall if passed is None else max(passed, wall)
    return found


def _matches(read: Read, wall: datetime) -> bool:
    return wall.hour in read.hours and wall.minute in read.minutes and read.day(wall.date())
