"""The headers that tell of a job's failures, as dead letters and retry records have them."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.errors import HeaderInvalid
from schemas.headers.job import EPOCH, Origin, number, parse_origin
from schemas.headers.names import (
    ATTEMPT,
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
    REFUSED,
    STACK_LIMIT,
    TEXT_LIMIT,
    Headers,
)


def with_failure(
    original: Headers | None,
    *,
    origin: Origin,
    error_type: str,
    error_message: str,
    error_stack: str,
    now_ms: int,
    attempt: int | None = None,
    first_failed_ms: int = 0,
) -> list[tuple[str, bytes | None]]:
    """Adds a failure to a record's headers, for its dead-letter record.

    Everything else stays, broken headers too: ours come last, and of several with one name the last counts. With the
    number of attempts made goes what a retry record said of the next. The origin and the time of the first failure
    are added only where no readable one exists. Message and stack are capped.
    """
    kept = without(_FAILURE_AND_REFUSAL if attempt is None else _FAILURE_AND_RETRY, original)
    found = dict(kept)
    now = str(now_ms).encode()
    if not readable_origin(found):
        kept.append((ORIGIN, str(origin).encode()))
    if not readable_time(found, FIRST_FAILED_AT):
        kept.append((FIRST_FAILED_AT, str(first_failed_ms or now_ms).encode()))
    if attempt is not None:
        kept.append((ATTEMPT, str(attempt).encode()))
    return [
        *kept,
        (ERROR_TYPE, capped(error_type, TEXT_LIMIT)),
        (ERROR_MESSAGE, capped(error_message, MESSAGE_LIMIT)),
        (ERROR_STACK, capped(error_stack, STACK_LIMIT, keep_end=True)),
        (LAST_FAILED_AT, now),
    ]


def without(names: frozenset[str], headers: Headers | None) -> list[tuple[str, bytes | None]]:
    """The headers but for these. NUL in a name is escaped, since clients written in C end a name there: what is left of
    it might be one of ours."""
    kept = [header for header in headers or () if header[0] not in names]
    if "\0" in "".join([name for name, _ in kept]):
        return [(name.replace("\0", "\\x00"), value) for name, value in kept]
    return kept


def first_failure(headers: Headers | None) -> int | None:
    """When a job first failed, in epoch milliseconds; None where that is not said, or cannot be read."""
    return count_or(dict(headers or ()), FIRST_FAILED_AT, 18)


def last_error(headers: Headers | None) -> str | None:
    """The type of the error that a retry record or a dead letter tells of; bytes that are no UTF-8 are replaced."""
    value = dict(headers or ()).get(ERROR_TYPE)
    return None if value is None else value.decode("utf-8", "replace")


def count_or(found: Mapping[str, bytes | None], name: str, digits: int) -> int | None:
    """The number in a header of at most so many digits; None where there is none, or it is unreadable."""
    try:
        return number(found, name, digits, "")
    except HeaderInvalid:
        return None


def capped(text: str, limit: int, *, keep_end: bool = False) -> bytes:
    """UTF-8 of a text, cut to `limit` bytes between characters; a stack keeps its end, where the cause stands."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded
    room = limit - len(_CUT)
    piece = encoded[-room:] if keep_end else encoded[:room]
    whole = piece.decode("utf-8", "ignore").encode()
    return _CUT + whole if keep_end else whole + _CUT


_CUT = "…".encode()
FAILURE = frozenset({ERROR_TYPE, ERROR_MESSAGE, ERROR_STACK, LAST_FAILED_AT})
_FAILURE_AND_REFUSAL = FAILURE | {REFUSED}
_FAILURE_AND_RETRY = _FAILURE_AND_REFUSAL | {ATTEMPT, NOT_BEFORE, PARKED, POSITION, OWNER, LOG}


def readable_origin(found: Mapping[str, bytes | None]) -> bool:
    """Whether the headers say where a job came from, in a form that can be read."""
    if ORIGIN not in found:
        return False
    try:
        parse_origin(found[ORIGIN])
    except HeaderInvalid:
        return False
    return True


def readable_time(found: Mapping[str, bytes | None], name: str) -> bool:
    """Whether a header is there and holds epoch milliseconds."""
    try:
        return number(found, name, 18, EPOCH) is not None
    except HeaderInvalid:
        return False
