"""What a worker that starts with a definition in its code does with the one that the log has.

Two versions of the code may be running at once, each of whose workers starts and starts again: the newer definition has
to stand in the end, and neither may write over the other time and again. The release decides where it differs. Where
it does not, a schedule remembers what it was before: a definition that it had before comes from an older deploy.

Only definitions are decided on: how far a schedule has come is kept elsewhere, and no upsert resets it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from streams.core.schedule.definition import LONGEST_HISTORY, Schedule, Source


class ScheduleTaken(ValueError):
    """A schedule in code has the id of one that was added at run time."""


class Upsert(StrEnum):
    """What is done with a definition."""

    WRITE = "write"  # it is the newer one
    KEEP = "keep"  # the log has the same
    OLDER = "older"  # the log has a newer one


class UpsertDecision(NamedTuple):
    """What is done with a definition, and the record to be written if there is one."""

    action: Upsert
    record: Schedule | None = None


def upsert(mine: Schedule, current: Schedule | None) -> UpsertDecision:
    """What is done with a definition from code, where the log has `current` under its id. Raises ScheduleTaken."""
    if current is None:
        return UpsertDecision(Upsert.WRITE, replace(mine, history=()))
    if current.source is not Source.CODE:
        raise ScheduleTaken(
            f"the schedule {mine.id!r} was added at run time, and code does not replace it: give the one in code"
            " another id, or remove the other first"
        )
    if mine.release < current.release:
        return UpsertDecision(Upsert.OLDER)
    mine_is, current_is = mine.content_hash, current.content_hash
    if mine.release == current.release:
        if mine_is == current_is:
            return UpsertDecision(Upsert.KEEP)
        if mine_is in current.history:
            return UpsertDecision(Upsert.OLDER)
    return UpsertDecision(Upsert.WRITE, replace(mine, history=_history(current, current_is, mine_is)))


def _history(current: Schedule, current_is: str, mine_is: str) -> tuple[str, ...]:
    """What the schedule was before, without what it is now."""
    known = [each for each in (*current.history, current_is) if each != mine_is]
    return tuple(dict.fromkeys(known))[-LONGEST_HISTORY:]


class Removed(NamedTuple):
    """Ids of schedules that the log has from code, and that this code does not have."""

    #: This code is of a higher release: they are deleted.
    delete: tuple[str, ...]
    #: It may be an older deploy that does not have them yet: they are reported, and stay.
    report: tuple[str, ...]


def removed(in_log: Iterable[Schedule], in_code: Collection[str], release: int) -> Removed:
    """What is no longer in the code of this release.

    in_log   of the queues that this code serves; what belongs to other code is for the caller to leave out
    in_code  the ids in this code
    """
    gone = [each for each in in_log if each.source is Source.CODE and each.id not in in_code]
    return Removed(
        delete=tuple(sorted(each.id for each in gone if each.release < release)),
        report=tuple(sorted(each.id for each in gone if each.release >= release)),
    )
