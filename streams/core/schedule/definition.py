"""What a schedule is: when it fires, and which job it publishes then; and its record on the wire.

The record's value is a JSON object in UTF-8, its members named as the fields of `Schedule`: times are seconds, moments
ISO 8601. Members that have their default are left out, so that a new member changes no schedule that has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from hashlib import sha256
from typing import Any, Final, Self

from streams.core.schedule.cron import Cron
from streams.core.schedule.expression import CronInvalid
from streams.core.schedule.interval import Interval
from streams.core.schedule.missed import MissedPolicy, MissedPolicyInvalid
from streams.core.schedule.overlap import Overlap
from streams.core.schedule.recurrence import Recurrence, RecurrenceInvalid, Rule, epoch_ms
from streams.core.schedule.wall_clock import ZoneUnknown

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
Seconds = float | timedelta

VERSION = 1

#: A record, and the payload in it, as JSON.
LARGEST_BYTES, LARGEST_PAYLOAD = 512 * 1024, 256 * 1024

#: Objects and arrays within each other in a payload.
DEEPEST = 32

#: Contents that a schedule remembers having had.
LONGEST_HISTORY = 50

#: Seconds: an interval, and any time that a job is given.
_SHORTEST_INTERVAL, _LONGEST = 0.1, 10 * 366 * 86_400.0

_MOST_ATTEMPTS, _MOST_RELEASE = 10_000, 2**53

_ID = re.compile(r"[A-Za-z0-9._/-]{1,200}")
_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_JOB_TYPE = re.compile(r"(?=.{1,1024}\Z)[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_HASH = re.compile(r"[0-9a-f]{16}")
_LONGEST_KEY = 1024


class ScheduleInvalid(ValueError):
    """A schedule, or the record of one, cannot be; the message names the member, and says what could stand there."""

    def __init__(self, member: str, problem: str) -> None:
        super().__init__(f"{member}: {problem}")
        self.member, self.problem = member, problem


class MadeByCode(Enum):
    """The payload of a schedule whose code makes one for each firing."""

    MADE_BY_CODE = "made by code"


MADE_BY_CODE: Final = MadeByCode.MADE_BY_CODE


class Source(StrEnum):
    """Who defined a schedule."""

    CODE = "code"
    RUN_TIME = "run time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A recurring schedule. Raises ScheduleInvalid. Times are seconds, or a timedelta, which becomes seconds.

    id            1 to 200 letters, digits, and . _ - /
    queue         where its jobs go
    job_type      the full name of their Avro record
    payload       of each job, as JSON; MADE_BY_CODE: the code makes one of the nominal time
    key           of each job; None: no key
    cron, tz      when it fires: a cron expression in a time zone
    every         when it fires, without `cron`: seconds between firings, counted from the start, or from 1970
    start, end    no firing before or after; aware datetimes
    count         firings at the most
    jitter        each firing is due up to so many seconds later, always before the next one
    missed        what is fired of what nobody was there to fire
    overlap       what is done while the job of an earlier firing is unfinished
    timeout, expires_in, max_attempts   of each job, as in `publish`; it expires counted from when it is due
    source        who defined it
    release       a higher one replaces a lower one, and never the other way
    history       hashes of contents that it had before, the oldest first
    """

    id: str
    queue: str
    job_type: str
    payload: JsonValue | MadeByCode
    key: str | None = None
    cron: str | None = None
    tz: str = "UTC"
    every: Seconds | None = None
    start: datetime | None = None
    end: datetime | None = None
    count: int | None = None
    jitter: Seconds = 0.0
    missed: MissedPolicy = MissedPolicy()  # noqa: RUF009 - frozen
    overlap: Overlap = Overlap.BESIDE
    timeout: Seconds | None = None
    expires_in: Seconds | None = None
    max_attempts: int | None = None
    source: Source = Source.CODE
    release: int = 0
    history: tuple[str, ...] = ()
    recurrence: Recurrence = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_names(self)
        for member, least in (
            ("every", _SHORTEST_INTERVAL),
            ("jitter", 0.0),
            ("timeout", 0.001),
            ("expires_in", 0.001),
        ):
            object.__setattr__(self, member, _seconds(member, getattr(self, member), least))
        for member in ("start", "end"):
            object.__setattr__(self, member, _moment(member, getattr(self, member)))
        for member, kind in (("overlap", Overlap), ("source", Source)):
            object.__setattr__(self, member, _one_of(member, kind, getattr(self, member)))
        _check_whole("max_attempts", self.max_attempts, 1, _MOST_ATTEMPTS)
        _check_whole("release", self.release, 0, _MOST_RELEASE)
        if not isinstance(self.missed, MissedPolicy):
            raise ScheduleInvalid("missed", f"must be a MissedPolicy, not {self.missed!r}")
        object.__setattr__(self, "history", _history(self.history))
        object.__setattr__(self, "payload", _payload(self.payload, self.source))
        object.__setattr__(self, "recurrence", _recurrence(self))

    def words(self) -> str:
        """When it fires, as people say it: "at 09:00 on weekdays, Europe/Berlin"."""
        limits = [self.recurrence.rule.words()]
        limits += [
            f"{word} {each:%Y-%m-%d %H:%M} UTC" for word, each in (("from", self.start), ("until", self.end)) if each
        ]
        if self.count is not None:
            limits.append("once" if self.count == 1 else f"{self.count} times at the most")
        if self.jitter:
            limits.append(f"up to {self.jitter:.10g} seconds later")
        return ", ".join(limits)

    @property
    def content_hash(self) -> str:
        """Sixteen hex digits that tell what the schedule does from anything else it might do.

        Who defined it, its release and its history are no part of that.
        """
        content = {name: value for name, value in _members(self).items() if name not in _NO_CONTENT}
        return sha256(_dump(content, sort_keys=True)).hexdigest()[:16]

    def to_json(self) -> bytes:
        """The value of its record."""
        return _dump({"v": VERSION, **_members(self)})

    @classmethod
    def from_json(cls, value: bytes) -> Self:
        """The schedule of a record, without members that only later versions know. Raises ScheduleInvalid."""
        members = _parsed(value)
        version = members.get("v")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise ScheduleInvalid("v", f"must be the version of the record, {VERSION}, not {_short(version)}")
        read = {name: of(name, members[name]) for name, of in _READ.items() if name in members}
        if members.get(_BY_CODE) is True:
            read["payload"] = MADE_BY_CODE
        for name in ("id", "queue", "job_type", "payload"):
            if name not in read:
                raise ScheduleInvalid(name, "is missing: every schedule has one")
        return cls(**read)


#: On the wire in place of the payload, true where code makes it.
_BY_CODE = "payload_made_by_code"

_NO_CONTENT = frozenset({"source", "release", "history"})


def _members(schedule: Schedule) -> dict[str, Any]:
    """The members of a record, without those at their default."""
    found: dict[str, Any] = {}
    for each in fields(schedule):
        value = getattr(schedule, each.name)
        if not each.init or value == each.default:
            continue
        if value is MADE_BY_CODE:
            found[_BY_CODE] = True
        else:
            found[each.name] = _as_json(value)
    return found


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, MissedPolicy):
        window = {} if value.window_ms is None else {"window": value.window_ms / 1000}
        return {"action": value.action, "most": value.most, **window}
    return value


def _dump(members: Mapping[str, Any], *, sort_keys: bool = False) -> bytes:
    return json.dumps(members, ensure_ascii=False, allow_nan=False, sort_keys=sort_keys, separators=(",", ":")).encode()


def _parsed(value: bytes) -> dict[str, Any]:
    if not isinstance(value, bytes) or len(value) > LARGEST_BYTES:
        raise ScheduleInvalid("record", f"must be at most {LARGEST_BYTES} bytes of JSON: make the payload smaller")
    try:
        members = json.loads(value.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ScheduleInvalid("record", f"must be a JSON object in UTF-8: {_short(str(error))}") from None
    if not isinstance(members, dict):
        raise ScheduleInvalid("record", f"must be a JSON object, not {_short(members)}")
    return members


def _refuse(constant: str) -> None:
    raise ValueError(f"JSON has no {constant}")


# -- reading members --------------------------------------------------------------------------------------------------


def _as_it_is(member: str, value: Any) -> Any:
    del member
    return value


def _read_moment(member: str, value: Any) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ScheduleInvalid(
            member, f"must be a moment such as 2026-01-31T09:00:00+00:00, not {_short(value)}"
        ) from None


def _read_missed(member: str, value: Any) -> MissedPolicy:
    if not isinstance(value, dict):
        raise ScheduleInvalid(member, f'must be an object such as {{"action": "one"}}, not {_short(value)}')
    window = _seconds(f"{member}.window", value.get("window"), 0.001)
    known = {name: value[name] for name in ("action", "most") if name in value}
    try:
        return MissedPolicy(**known, window_ms=None if window is None else round(window * 1000))
    except MissedPolicyInvalid as error:
        raise ScheduleInvalid(member, str(error)) from None


#: By the name of a member, what makes a value of it. The constructor checks that.
_READ: dict[str, Callable[[str, Any], Any]] = {
    each.name: {"start": _read_moment, "end": _read_moment, "missed": _read_missed}.get(each.name, _as_it_is)
    for each in fields(Schedule)
    if each.init
}


# -- checking values --------------------------------------------------------------------------------------------------


def _check_names(schedule: Schedule) -> None:
    for member, pattern, wanted in (
        ("id", _ID, "1 to 200 letters, digits, and the characters . _ - /"),
        ("queue", _QUEUE, "the name of a queue: letters, digits, - and _"),
        ("job_type", _JOB_TYPE, "the full name of an Avro record, such as jobs.email.SendEmail"),
    ):
        value = getattr(schedule, member)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ScheduleInvalid(member, f"must be {wanted}, not {_short(value)}")
    if schedule.key is not None and (
        not isinstance(schedule.key, str) or not _is_utf8(schedule.key) or len(schedule.key.encode()) > _LONGEST_KEY
    ):
        raise ScheduleInvalid(
            "key",
            f"must be a text of at most {_LONGEST_KEY} bytes, not {_short(schedule.key)}; leave it out for no key",
        )


def _seconds(member: str, value: object, least: float) -> float | None:
    """Seconds in whole milliseconds, as the wire can hold them."""
    if value is None and member != "jitter":
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not least <= seconds <= _LONGEST:
        raise ScheduleInvalid(
            member, f"must be a number of seconds from {least:g} to {_LONGEST:.0f} (ten years), not {_short(value)}"
        )
    return round(seconds * 1000) / 1000


def _moment(member: str, value: datetime | None) -> datetime | None:
    try:
        ms = epoch_ms(member, value)
    except RecurrenceInvalid as error:
        raise ScheduleInvalid(member, error.problem) from None
    return None if ms is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


def _one_of(member: str, kind: type[StrEnum], value: Any) -> StrEnum:
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(f'"{each}"' for each in kind)
        raise ScheduleInvalid(member, f"must be one of {names}, not {_short(value)}") from None


def _check_whole(member: str, value: object, least: int, most: int) -> None:
    if value is None and member != "release":
        return
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ScheduleInvalid(member, f"must be a whole number from {least} to {most}, not {_short(value)}")


def _history(value: object) -> tuple[str, ...]:
    """Longer ones lose what is oldest."""
    if not isinstance(value, (list, tuple)) or not all(
        isinstance(each, str) and _HASH.fullmatch(each) for each in value
    ):
        raise ScheduleInvalid("history", f"must be a list of hashes of 16 hex digits, not {_short(value)}")
    return tuple(value[-LONGEST_HISTORY:])


def _payload(value: JsonValue | MadeByCode, source: Source) -> JsonValue | MadeByCode:
    """A copy that nobody else can change."""
    if value is MADE_BY_CODE:
        if source is not Source.CODE:
            raise ScheduleInvalid("payload", "must be given, since a schedule that was added at run time has no code")
        return value
    for each, depth in _within(value):
        if depth > DEEPEST or not isinstance(each, (type(None), bool, int, float, str, list, dict)):
            raise ScheduleInvalid("payload", f"must be JSON, at most {DEEPEST} deep, and has {_short(each)} in it")
    try:
        text = _dump({"payload": value})
    except (TypeError, ValueError) as error:
        raise ScheduleInvalid("payload", f"must be JSON: {_short(str(error))}") from None
    if len(text) > LARGEST_PAYLOAD:
        raise ScheduleInvalid(
            "payload",
            f"has {len(text)} bytes as JSON, more than {LARGEST_PAYLOAD}: store it elsewhere, and give its place",
        )
    copied: JsonValue = json.loads(text)["payload"]
    return copied


def _within(value: object) -> Iterator[tuple[object, int]]:
    """A value and all that is in it, each with its depth. Names in objects have to be texts."""
    left = [(value, 0)]
    while left:
        each, depth = left.pop()
        yield each, depth
        if isinstance(each, dict):
            # What is no JSON, if a name is no text.
            yield from (((name,), depth) for name in each if not isinstance(name, str))
            left += [(inner, depth + 1) for inner in each.values()]
        elif isinstance(each, list):
            left += [(inner, depth + 1) for inner in each]


def _recurrence(schedule: Schedule) -> Recurrence:
    start, end = (epoch_ms(member, getattr(schedule, member)) for member in ("start", "end"))
    rule = _rule(schedule, start)
    jitter: Any = schedule.jitter  # Of whatever it was made.
    try:
        return Recurrence(rule=rule, start_ms=start, end_ms=end, count=schedule.count, jitter_ms=round(jitter * 1000))
    except RecurrenceInvalid as error:
        raise ScheduleInvalid(error.member, error.problem) from None


def _rule(schedule: Schedule, start_ms: int | None) -> Rule:
    if (schedule.cron is None) == (schedule.every is None):
        raise ScheduleInvalid("cron", "give either a cron expression or every=seconds, and not both")
    if schedule.every is not None:
        if schedule.tz != "UTC":
            raise ScheduleInvalid(
                "tz", "is for cron expressions: an interval is the same in every time zone, leave it out"
            )
        every: Any = schedule.every
        return Interval(round(every * 1000), start_ms or 0)
    expression: Any = schedule.cron
    try:
        return Cron(expression, schedule.tz)
    except CronInvalid as error:
        raise ScheduleInvalid("tz" if isinstance(error, ZoneUnknown) else "cron", str(error)) from None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(value: object) -> str:
    """What is wrong, as far as a message needs it."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
