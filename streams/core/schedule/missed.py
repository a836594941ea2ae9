"""Missed firings: what is fired of the nominal times that passed while nobody was there to fire them.

A firing that is late by no more than a grace is on time, and is fired whatever the policy. Any later one is missed, and
the policy decides. Work is bounded however long the pause was: nothing walks from its beginning to its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from streams.core.schedule.cron import Cron
from streams.core.schedule.recurrence import Recurrence

#: Of a policy that fires all: missed firings that it can ask for.
MOST_MISSED = 1000

#: Late by more than this is missed in any case. Milliseconds.
LONGEST_GRACE_MS = 60_000

#: Skipped firings of a cron expression are counted so far.
MOST_COUNTED = 1000

#: Nobody's window is longer. Milliseconds: ten years.
_LONGEST_WINDOW_MS = 10 * 366 * 86_400_000


class MissedPolicyInvalid(ValueError):
    """A policy for missed firings cannot be; the message says what could."""


class OnMissed(StrEnum):
    """What is done about missed firings."""

    SKIP = "skip"  # none of them is fired
    ONE = "one"  # the latest is
    ALL = "all"  # all are, up to a number and within a window, the latest ones if there are more


#: Missed firings that are wanted, where the policy has no number of its own.
_WANTED = {OnMissed.SKIP: 0, OnMissed.ONE: 1}


@dataclass(frozen=True, slots=True)
class MissedPolicy:
    """What is done about missed firings. Raises MissedPolicyInvalid.

    action     skip, one or all
    most       of `all`: so many at the most, the latest ones
    window_ms  of `one` and `all`: only what was due within so many milliseconds; None: however long ago
    """

    action: OnMissed = OnMissed.ONE
    most: int = 100
    window_ms: int | None = None

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "action", OnMissed(self.action))
        except ValueError:
            raise MissedPolicyInvalid(f'action must be "skip", "one" or "all", not {self.action!r}') from None
        if not _is_whole(self.most, MOST_MISSED):
            raise MissedPolicyInvalid(f"most must be a whole number from 1 to {MOST_MISSED}, not {self.most!r}")
        if self.window_ms is not None and not _is_whole(self.window_ms, _LONGEST_WINDOW_MS):
            raise MissedPolicyInvalid(
                f"window must be a time of up to ten years, or left out, not {self.window_ms!r} ms; use skip to fire"
                " nothing that was missed"
            )


class Progress(NamedTuple):
    """How far a schedule has come."""

    #: The last nominal time that was handled, fired or skipped, or the moment at which the schedule was made.
    last_ms: int
    #: Firings so far.
    fired: int = 0


class DueFirings(NamedTuple):
    """What is to be done now."""

    #: Nominal times to be fired now, in order.
    fire: tuple[int, ...]
    #: How many nominal times are passed over for good.
    skipped: int
    #: More were skipped than were counted.
    more_skipped: bool
    #: How far the schedule has come with that.
    progress: Progress


def due_firings(
    recurrence: Recurrence,
    schedule_id: str,
    progress: Progress,
    *,
    now_ms: int,
    policy: MissedPolicy,
    grace_ms: int,
) -> DueFirings:
    """What is due of a schedule, and what of that is fired.

    grace_ms  late by no more than this is on time, up to LONGEST_GRACE_MS
    """
    last_due = _last_due(recurrence, schedule_id, progress, now_ms)
    if last_due is None:
        return DueFirings((), 0, more_skipped=False, progress=progress)
    on_time_from = now_ms - min(max(grace_ms, 0), LONGEST_GRACE_MS)
    missed_from = 0 if policy.window_ms is None else now_ms - policy.window_ms
    wanted = _WANTED.get(policy.action, policy.most)
    chosen: list[int] = []
    for nominal, due_ms in _backwards(recurrence, schedule_id, last_due, progress.last_ms):
        if due_ms < on_time_from:
            if not wanted or due_ms < missed_from:
                break
            wanted -= 1
        chosen.append(nominal)
    chosen.reverse()
    if recurrence.count is not None:
        # What is left of the count goes to the first; with the last of them the schedule is over.
        chosen = chosen[: recurrence.count - progress.fired]
    fired = progress.fired + len(chosen)
    handled = chosen[-1] if recurrence.is_over(fired) else last_due
    skipped, more = _skipped(recurrence, progress.last_ms, handled, chosen)
    return DueFirings(tuple(chosen), skipped, more, Progress(handled, fired))


def _last_due(recurrence: Recurrence, schedule_id: str, progress: Progress, now_ms: int) -> int | None:
    """The last nominal time that is due and not handled. Of those that have come, only the last may not be due yet."""
    if recurrence.is_over(progress.fired):
        return None
    last = recurrence.last_up_to(now_ms)
    if last is not None and recurrence.due_ms(schedule_id, last) > now_ms:
        last = recurrence.last_up_to(last - 1)
    return None if last is None or last <= progress.last_ms else last


def _backwards(recurrence: Recurrence, schedule_id: str, from_ms: int, down_to_ms: int) -> Iterator[tuple[int, int]]:
    """Nominal times from one on down to what is handled, each with when it is due: no walk through a long pause."""
    nominal: int | None = from_ms
    while nominal is not None and nominal > down_to_ms:
        yield nominal, recurrence.due_ms(schedule_id, nominal)
        nominal = recurrence.last_up_to(nominal - 1)


def _skipped(recurrence: Recurrence, handled_ms: int, up_to_ms: int, fired: list[int]) -> tuple[int, bool]:
    """How many nominal times are handled and not fired, and whether there are more than were counted."""
    if recurrence.start_ms is not None:
        handled_ms = max(handled_ms, recurrence.start_ms - 1)
    # The fired ones come last, so what is skipped lies before the first of them.
    skipped = recurrence.rule.count(handled_ms, fired[0] - 1 if fired else up_to_ms, MOST_COUNTED + 1)
    if isinstance(recurrence.rule, Cron) and skipped > MOST_COUNTED:
        return MOST_COUNTED, True
    return skipped, False


def _is_whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
