"""What becomes of a job whose run has failed: from the failure, its policy and its own record to a decision."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from schemas.errors import HeaderInvalid
from schemas.headers import first_failure, parse, quick_identity
from streams.core.retry.failure import Failure
from streams.core.retry.policy import GiveUp, RetryAt, RetryPolicy, decide
from streams.core.retry.unknown_jobs import MAY_BE_KNOWN_LATER, wait_or_give_up
from streams.ports.records import WorkLane, origin_of


class FailureDecision(NamedTuple):
    """What becomes of a failed job, and the attempts made; None if none was, and its headers tell of earlier ones."""

    decision: RetryAt | GiveUp
    made: int | None


def decide_after_failure(
    policy: RetryPolicy | None,
    lane: WorkLane,
    failed: Failure,
    *,
    now_ms: int,
    random_share: float,
    patience_ms: int = 0,
) -> FailureDecision:
    """Decide about the head of a lane.

    policy        of the job's handler; None if the job could not even be prepared: unknown, undecodable, expired
    random_share  chance, from 0 up to 1
    patience_ms   how long a job waits that no worker knows yet
    """
    entry, record = lane.entry, lane.head
    if policy is None:
        may_wait = failed.error_type in MAY_BE_KNOWN_LATER
        decision = _judge_unknown(lane, now_ms, random_share, patience_ms) if may_wait else GiveUp("")
        return FailureDecision(decision, None if entry is None else entry.attempt)
    attempt, most, expires = 0, None, None
    since = record.timestamp if record.timestamp > 0 else 0 if entry is None else entry.since_ms
    if quick_identity(record.headers) is None:
        metadata = parse(record.headers, *origin_of(lane))
        attempt, most, expires = metadata.attempt, metadata.max_attempts, metadata.expires_at
    if entry is not None:
        attempt = entry.attempt
    decision = decide(
        policy,
        failed,
        attempt=attempt,
        now_ms=now_ms,
        since_ms=since or None,
        random_share=random_share,
        max_attempts=most,
        expires_ms=expires,
    )
    return FailureDecision(decision, attempt if failed.snooze else attempt + 1)


def waiting(failed: Failure, patience_ms: int) -> Failure:
    """What a retry record says of a job that waits to be known."""
    until = f"(waits up to {patience_ms / 1000:g} s for a worker that knows it)"
    return replace(failed, message=f"{failed.message} {until}")


def _judge_unknown(lane: WorkLane, now_ms: int, random_share: float, patience_ms: int) -> RetryAt | GiveUp:
    try:
        metadata = parse(lane.head.headers, *origin_of(lane))
    except HeaderInvalid:
        return GiveUp("")  # No worker will run it.
    return wait_or_give_up(
        attempt=metadata.attempt if lane.entry is None else lane.entry.attempt,
        now_ms=now_ms,
        since_ms=_first_met(lane) or now_ms,
        patience_ms=patience_ms,
        random_share=random_share,
        expires_ms=metadata.expires_at,
    )


def _first_met(lane: WorkLane) -> int | None:
    return first_failure(lane.head.headers) or (lane.entry.failed_ms if lane.entry else None)
