"""A recurrence: a rule for firings, from when, until when, how often at the most, and how far they are spread.

A firing is told by its nominal time, which is what the rule says, in epoch milliseconds. It is due at its nominal time
or, with a jitter, a while later: chance that every owner of a schedule works out alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Self

from streams.core.schedule.cron import Cron
from streams.core.schedule.interval import LONGEST_MS, Interval

Rule = Cron | Interval

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

#: The end of the year 9999, where datetimes end.
LAST_MS = 253_402_300_799_999

#: Firings that a schedule can be limited to.
MOST_FIRINGS = 2**53


class RecurrenceInvalid(ValueError):
    """A recurrence cannot be; the message says what could. `member` is what is wrong with it."""

    def __init__(self, member: str, problem: str) -> None:
        super().__init__(f"{member}: {problem}")
        self.member, self.problem = member, problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """When a schedule fires. `Recurrence.of` takes datetimes and seconds. Raises RecurrenceInvalid.

    rule       a Cron or an Interval
    start_ms   no firing has an earlier nominal time; None: no start
    end_ms     no firing has a later nominal time; None: no end
    count      firings at the most; what is skipped is none; None: no limit
    jitter_ms  a firing is due up to so much after its nominal time, and always before the next one's
    """

    rule: Rule
    start_ms: int | None = None
    end_ms: int | None = None
    count: int | None = None
    jitter_ms: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.rule, (Cron, Interval)):
            raise RecurrenceInvalid("rule", f"must be a Cron or an Interval, not {self.rule!r}")
        for member, moment in (("start", self.start_ms), ("end", self.end_ms)):
            if moment is not None and not _is_whole(moment, 0, LAST_MS):
                raise RecurrenceInvalid(member, f"must be epoch milliseconds, or None, not {moment!r}")
        if self.start_ms is not None and self.end_ms is not None and self.end_ms < self.start_ms:
            raise RecurrenceInvalid(
                "end", "is before the start, so nothing would fire: exchange them, or leave one out"
            )
        if self.count is not None and not _is_whole(self.count, 1, MOST_FIRINGS):
            raise RecurrenceInvalid(
                "count", f"must be a whole number of firings from 1 on, not {self.count!r}; leave it out for no limit"
            )
        if not _is_whole(self.jitter_ms, 0, LONGEST_MS):
            raise RecurrenceInvalid("jitter", f"must be from 0 to {LONGEST_MS} ms (ten years), not {self.jitter_ms!r}")

    @classmethod
    def of(
        cls,
        rule: Rule,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        count: int | None = None,
        jitter: float = 0.0,
    ) -> Self:
        """A recurrence with its start and end as aware datetimes, and its jitter in seconds."""
        if isinstance(jitter, bool) or not isinstance(jitter, (int, float)) or not 0 <= jitter <= LONGEST_MS / 1000:
            raise RecurrenceInvalid(
                "jitter", f"must be a number of seconds from 0 to {LONGEST_MS // 1000} (ten years), not {jitter!r}"
            )
        return cls(
            rule=rule,
            start_ms=epoch_ms("start", start),
            end_ms=epoch_ms("end", end),
            count=count,
            jitter_ms=round(jitter * 1000),
        )

    def next_after(self, nominal_ms: int, fired: int) -> int | None:
        """The first nominal time after another, of a schedule that has fired so often; None when it is over.

        A schedule that has not fired yet asks with the moment at which it was made.
        """
        if self.is_over(fired):
            return None
        if self.start_ms is not None:
            nominal_ms = max(nominal_ms, self.start_ms - 1)
        following = self.rule.after_ms(nominal_ms)
        return None if following is None or self._is_past_end(following) else following

    def last_up_to(self, moment_ms: int) -> int | None:
        """The last nominal time that is not after a moment, however often it has fired; None if there was none."""
        if self.end_ms is not None:
            moment_ms = min(moment_ms, self.end_ms)
        last = self.rule.up_to_ms(moment_ms)
        return None if last is None or (self.start_ms is not None and last < self.start_ms) else last

    def is_over(self, fired: int) -> bool:
        """Whether a schedule that has fired so often does not fire again."""
        return self.count is not None and fired >= self.count

    def due_ms(self, schedule_id: str, nominal_ms: int) -> int:
        """When the firing of a nominal time is due: then, or a while later that follows from the schedule's id.

        Firings are due in the order of their nominal times, each before the next one's.
        """
        if not self.jitter_ms:
            return nominal_ms
        following = self.rule.after_ms(nominal_ms)
        most = self.jitter_ms if following is None else min(self.jitter_ms, following - nominal_ms - 1)
        digest = sha256(f"{schedule_id}@{nominal_ms}".encode()).digest()
        return nominal_ms + int.from_bytes(digest[:8], "big") % (most + 1)

    def _is_past_end(self, nominal_ms: int) -> bool:
        return self.end_ms is not None and nominal_ms > self.end_ms


def epoch_ms(member: str, moment: datetime | None) -> int | None:
    """Epoch milliseconds of an aware datetime. Raises RecurrenceInvalid for a naive one."""
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        raise RecurrenceInvalid(member, f"must be a datetime with a time zone, not {moment!r}")
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise RecurrenceInvalid(
            member,
            f"must have a time zone, and {moment.isoformat()} has none: add tzinfo=ZoneInfo(...), or use"
            " datetime.now(UTC)",
        )
    if moment < _EPOCH:
        raise RecurrenceInvalid(member, f"must not be before 1970, and {moment.isoformat()} is")
    return (moment - _EPOCH) // _MILLISECOND


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
