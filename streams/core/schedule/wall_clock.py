"""What the clock on a wall shows in a time zone, and when it shows a time: skipped times and repeated ones included.

Instants are aware datetimes in UTC, and times on the wall are naive ones, both in whole seconds. An instant at which a
zone changes its offset from UTC is called a change here, whichever way it goes.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from streams.core.schedule.expression import CronInvalid

#: No two changes of a zone are as near each other, and none moves the clock as far. (Samoa left out one day in 2011.)
APART = timedelta(hours=36)

_SECOND = timedelta(seconds=1)

#: Names of files beside the zones: what a machine is set to, and zones that count leap seconds.
_NO_ZONES = ("localtime", "posix/", "posixrules", "right/")

_LONGEST_NAME = 64


class ZoneUnknown(CronInvalid):
    """A name is no time zone's; the message has names that are like it."""


def zone_of(name: str) -> ZoneInfo:
    """The time zone of a name. Raises ZoneUnknown, which names similar ones."""
    if isinstance(name, str) and len(name) <= _LONGEST_NAME and not name.startswith(_NO_ZONES):
        try:
            return ZoneInfo(name)
        except (LookupError, ValueError, OSError):
            pass
    raise ZoneUnknown(_unknown(name))


def _unknown(name: object) -> str:
    if not isinstance(name, str) or len(name) > _LONGEST_NAME:
        return f"a time zone is the name of one, such as Europe/Berlin or UTC, not {str(name)[:_LONGEST_NAME]!r}"
    zones = {each.lower().replace("_", " "): each for each in sorted(available_timezones())}
    if not zones:
        return f"no time zones are known here, so not {name!r} either: install Debian's tzdata, or Python's"
    # The place alone is what most people know.
    places = {each.rpartition("/")[2]: full for each, full in zones.items()}
    wanted = name.lower().replace("_", " ")
    close = [zones[each] for each in difflib.get_close_matches(wanted, zones, n=3)]
    close += [places[each] for each in difflib.get_close_matches(wanted, places, n=2) if places[each] not in close]
    meant = f"did you mean {', '.join(close)}?" if close else "write one such as Europe/Berlin or UTC"
    return f"{name!r} is no time zone of the IANA database: {meant}"


def shown(zone: ZoneInfo, instant: datetime) -> datetime:
    """What the clock shows at an instant."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def latest_shown(zone: ZoneInfo, instant: datetime) -> datetime:
    """The latest time that the clock has shown by then: after it was put back, for a while, the one before that."""
    at = shown(zone, instant)
    earlier = instant - APART
    if at - shown(zone, earlier) >= APART:
        return at
    return max(at, shown(zone, change_after(zone, earlier, instant) - _SECOND))


def first_shown(zone: ZoneInfo, wall: datetime) -> datetime:
    """When the clock shows a time, for the first time if it does so twice; where it is skipped, the change."""
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    ahead = shown(zone, instant) - wall
    return change_after(zone, instant - ahead, instant) if ahead else instant


def last_shown(zone: ZoneInfo, wall: datetime) -> datetime:
    """When the clock shows a time, for the second time if it does so twice; where it is skipped, the change."""
    instant = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    behind = wall - shown(zone, instant)
    return change_after(zone, instant, instant + behind) if behind else instant


def changes_between(zone: ZoneInfo, low: datetime, high: datetime) -> bool:
    """Whether there is a change after one instant and up to another that is at most APART later."""
    return shown(zone, high) - shown(zone, low) != high - low


def change_after(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The change that is after one instant and not after another, where there is one."""
    offset = shown(zone, low) - low.replace(tzinfo=None)
    while high - low > _SECOND:
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        if shown(zone, middle) - middle.replace(tzinfo=None) == offset:
            low = middle
        else:
            high = middle
    return high
