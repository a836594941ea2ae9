"""When a cron expression fires, in a time zone with all that its clocks do.

cronsim finds the times on the wall, one after another, as if no clock were ever put forward or back. Which instants
these are is said here, by the rule of Debian's cron (cron(8)), for expressions of five fields and six alike:

* An expression that names times of the day (neither minutes nor hours begin with `*`) keeps to the clock. A time that
  the clock skips fires at the first moment after the gap, once for all times in the gap; one that comes twice fires at
  the first.
* Any other runs on as time goes by: it fires at every instant at which the clock shows a time that matches. So
  `*/15 * * * *` has fifteen minutes between any two firings, through every change of whole quarters. `*/15 2 * * *`
  has no firing in a night whose clock skips that hour, and eight in one that has it twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from cronsim import CronSim

from streams.core.schedule import expression as expressions
from streams.core.schedule.wall_clock import (
    APART,
    change_after,
    changes_between,
    first_shown,
    last_shown,
    latest_shown,
    shown,
    zone_of,
)

_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: An expression may ask for times that are skipped whenever their date comes. So often one looks further.
_MOST_CHANGES = 16


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a time zone. Raises CronInvalid.

    expression  five fields, six with the seconds first, or a name such as @daily
    tz          the IANA name of a time zone
    """

    expression: str
    tz: str = "UTC"
    _fields: str = field(init=False, repr=False, compare=False)
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)
    _by_clock: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fields = expressions.checked(self.expression)
        object.__setattr__(self, "_fields", fields)
        object.__setattr__(self, "_zone", zone_of(self.tz))
        object.__setattr__(self, "_by_clock", expressions.keeps_to_the_clock(fields))

    @classmethod
    def parse(cls, expression: str, tz: str = "UTC") -> Self:
        """The expression, checked. Raises CronInvalid, whose message says what to write instead."""
        return cls(expression, tz)

    def words(self) -> str:
        """The expression as people say it: "at 09:00 on weekdays, Europe/Berlin"."""
        return f"{expressions.words(self._fields)}, {self.tz}"

    def after(self, moment: datetime) -> datetime | None:
        """The first firing after an aware moment, in UTC; None where there is none any more.

        None as well where fifty years have no such date, or the clock skipped the time whenever its date came.
        """
        at = _whole_second(moment)
        try:
            return self._after_by_clock(at) if self._by_clock else self._after_by_time(at)
        except OverflowError:
            return None

    def up_to(self, moment: datetime) -> datetime | None:
        """The last firing that is not after an aware moment, in UTC; None where there has been none (see `after`)."""
        at = _whole_second(moment)
        try:
            return self._up_to_by_clock(at) if self._by_clock else self._up_to_by_time(at)
        except OverflowError:
            return None

    def after_ms(self, moment_ms: int) -> int | None:
        """As `after`, in epoch milliseconds."""
        firing = self.after(_EPOCH + timedelta(milliseconds=moment_ms))
        return None if firing is None else (firing - _EPOCH) // _SECOND * 1000

    def up_to_ms(self, moment_ms: int) -> int | None:
        """As `up_to`, in epoch milliseconds."""
        firing = self.up_to(_EPOCH + timedelta(milliseconds=moment_ms))
        return None if firing is None else (firing - _EPOCH) // _SECOND * 1000

    def count(self, after_ms: int, up_to_ms: int, most: int) -> int:
        """How many firings there are after one moment and up to another, counted up to `most`."""
        counted = 0
        firing = self.after_ms(after_ms)
        while firing is not None and firing <= up_to_ms and counted < most:
            counted += 1
            firing = self.after_ms(firing)
        return counted

    def _after_by_clock(self, at: datetime) -> datetime | None:
        # What the clock has shown already does not come again.
        wall = self._wall_after(latest_shown(self._zone, at))
        return None if wall is None else first_shown(self._zone, wall)

    def _up_to_by_clock(self, at: datetime) -> datetime | None:
        wall = self._wall_up_to(latest_shown(self._zone, at))
        return None if wall is None else first_shown(self._zone, wall)

    def _after_by_time(self, at: datetime) -> datetime | None:
        zone = self._zone
        for _ in range(_MOST_CHANGES):
            now = shown(zone, at)
            if (wall := self._wall_after(now)) is None:
                return None
            firing = at + (wall - now)  # if the clock goes on as it does
            near = min(firing, at + APART)
            if changes_between(zone, at, near):
                change = change_after(zone, at, near)
            elif firing == near:
                return firing
            else:
                # Clocks that are put back later than this do not show again what has been shown by now.
                firing = first_shown(zone, wall)
                if shown(zone, firing) == wall:
                    return firing
                change = firing
            if self._matches(shown(zone, change)):
                return change
            at = change
        return None

    def _up_to_by_time(self, at: datetime) -> datetime | None:
        zone = self._zone
        for _ in range(_MOST_CHANGES):
            now = shown(zone, at)
            if (wall := self._wall_up_to(now)) is None:
                return None
            firing = at - (now - wall)  # if the clock has gone as it does
            near = max(firing, at - APART)
            if changes_between(zone, near, at):
                change = change_after(zone, near, at)  # nothing matches from there on
            elif firing == near:
                return firing
            else:
                firing = last_shown(zone, wall)
                if shown(zone, firing) == wall:
                    return firing
                change = firing
            at = change - _SECOND
        return None

    def _wall_after(self, wall: datetime) -> datetime | None:
        return next(CronSim(self._fields, wall), None)

    def _wall_up_to(self, wall: datetime) -> datetime | None:
        return next(CronSim(self._fields, wall + _SECOND, reverse=True), None)

    def _matches(self, wall: datetime) -> bool:
        return self._wall_after(wall - _SECOND) == wall


def _whole_second(moment: datetime) -> datetime:
    if not isinstance(moment, datetime) or moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(
            f"the moment must be a datetime with a time zone, not {moment!r}: write datetime.now(UTC), or add"
            " tzinfo=ZoneInfo(...)"
        )
    return moment.astimezone(UTC).replace(microsecond=0)
