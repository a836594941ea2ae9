"""The headers of a job's record in a retry topic: where it stands, and who has written it."""

from __future__ import annotations

from typing import NamedTuple

from schemas.headers.failure import FAILURE, capped, count_or, readable_origin, readable_time, without
from schemas.headers.job import Origin
from schemas.headers.names import (
    ATTEMPT,
    DELAYED_UNTIL,
    ERROR_MESSAGE,
    ERROR_STACK,
    ERROR_TYPE,
    FIRST_FAILED_AT,
    LAST_FAILED_AT,
    LOG,
    MESSAGE_LIMIT,
    NOT_BEFORE,
    ORIGIN,
    OWNER,
    PARKED,
    POSITION,
    TEXT_LIMIT,
    Headers,
)


class RetryState(NamedTuple):
    """Where a job of a retry topic stands."""

    queue_offset: int  # its offset in the queue's log; below 0 if that log is gone, or it is not known
    attempt: int  # attempts already made
    due_ms: int  # epoch milliseconds before which it must not run; 0 if it was diverted untried
    generation: int | None = None  # generation of the group in which the record's writer got the partition
    log: str = ""  # id of the queue's topic in which it has its position; empty if it is not known


def with_retry(
    original: Headers | None,
    *,
    origin: Origin,
    state: RetryState,
    failure: tuple[str, str] | None,
    now_ms: int,
    first_failed_ms: int = 0,
) -> list[tuple[str, bytes | None]]:
    """Headers of a job's record in the retry topic: the original ones, and where it stands.

    failure          type and message of the error that brought it here; None if it was diverted untried
    first_failed_ms  when it first failed, where the original headers do not say it; 0: it has not, or now

    Its stack trace is the dead letter's alone: a retry record is read again on every assignment. Broken headers stay as
    they are, as in with_failure.
    """
    kept = without(_RETRY if failure is None else _RETRY_AND_FAILURE, original)
    found = dict(kept)
    if not readable_origin(found):
        kept.append((ORIGIN, str(origin).encode()))
    kept.append((POSITION, b"%d" % state.queue_offset))
    if state.generation is not None:
        kept.append((OWNER, b"%d" % state.generation))
    if state.log:
        kept.append((LOG, state.log.encode()))
    kept.append((ATTEMPT, b"%d" % state.attempt))
    if state.due_ms:
        kept.append((NOT_BEFORE, b"%d" % state.due_ms))
    else:
        kept.append((PARKED, b"1"))
        delayed = _delay_of(original)
        if delayed is not None:
            kept.append((DELAYED_UNTIL, delayed))
    first = first_failed_ms or (0 if failure is None else now_ms)
    if first and not readable_time(found, FIRST_FAILED_AT):
        kept.append((FIRST_FAILED_AT, b"%d" % first))
    if failure is None:
        return kept
    now = b"%d" % now_ms
    error_type, message = failure
    return [
        *kept,
        (ERROR_TYPE, capped(error_type, TEXT_LIMIT)),
        (ERROR_MESSAGE, capped(message, MESSAGE_LIMIT)),
        (LAST_FAILED_AT, now),
    ]


def retry_state(headers: Headers | None, offset: int) -> RetryState:
    """Reads where a job of a retry topic stands, from its headers and its own offset there.

    Never raises, since such a record must not be lost: without a readable time it is due at once, without a readable
    number of attempts it was tried once, and without a readable position it comes before the jobs that have one, in the
    order of the retry topic.
    """
    found = dict(headers or ())
    position = found.get(POSITION) or b""
    known = position.removeprefix(b"-").isdigit() and len(position) <= _POSITION_DIGITS
    attempt = count_or(found, ATTEMPT, 9)
    due_ms = count_or(found, NOT_BEFORE, 18)
    untried = due_ms is None and found.get(PARKED) == b"1"
    return RetryState(
        int(position) if known else offset - _BELOW_ALL,
        (0 if untried else 1) if attempt is None else attempt,
        0 if untried else max(1, due_ms or 0),
        count_or(found, OWNER, 9),
        (found.get(LOG) or b"")[:TEXT_LIMIT].decode("utf-8", "replace"),
    )


def delayed_until(headers: Headers) -> int | None:
    """When an untried job of a retry topic may run, in epoch milliseconds, if it was published with a delay."""
    return count_or(dict(headers), DELAYED_UNTIL, 18)


def _delay_of(original: Headers | None) -> bytes | None:
    """The delay that a job was published with, whether it comes from its queue or from a retry topic."""
    found = dict(original or ())
    return found.get(DELAYED_UNTIL) if POSITION in found else found.get(NOT_BEFORE)


_RETRY = frozenset({DELAYED_UNTIL, ATTEMPT, NOT_BEFORE, PARKED, POSITION, OWNER, LOG, ERROR_STACK})
_RETRY_AND_FAILURE = _RETRY | FAILURE


#: Digits of a position and its sign: the longest is far from what _BELOW_ALL makes of an offset.
_POSITION_DIGITS = 18


_BELOW_ALL = 4 * 10**18
