"""What becomes of a job whose run has failed: from the failure, its policy and its own record to a decision."""

from __future__ import annotations

from typing import NamedTuple

from schemas.headers import parse, quick_identity
from streams.core.outcome import Failed
from streams.core.retry import Again, Bury, decide
from streams.handling import Call
from streams.work import WorkLane, place_of


class Verdict(NamedTuple):
    """What becomes of the job, and the attempts made so far; None if none was, and its headers tell of earlier ones."""

    decision: Again | Bury
    made: int | None


def judge(call: Call | None, lane: WorkLane, failed: Failed, *, now_ms: int, luck: float) -> Verdict:
    """Decide about the head of a lane.

    call  None if the job could not even be opened: undecodable, without a handler, expired. No time will mend it
    luck  chance, from 0 up to 1
    """
    entry, record = lane.entry, lane.head
    if call is None:
        return Verdict(Bury(""), None if entry is None else entry.attempt)
    attempt, most, expires = 0, None, None
    if quick_identity(record.headers) is None:
        metadata = parse(record.headers, *place_of(lane))
        attempt, most, expires = metadata.attempt, metadata.max_attempts, metadata.expires_at
    if entry is not None:
        attempt = entry.attempt
    decision = decide(
        call.retry,
        failed,
        attempt=attempt,
        now_ms=now_ms,
        since_ms=record.timestamp if record.timestamp > 0 else None,
        luck=luck,
        max_attempts=most,
        expires_ms=expires,
    )
    return Verdict(decision, attempt if failed.snooze else attempt + 1)
