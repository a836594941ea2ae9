"""Reads and writes the Kafka headers that carry a job's metadata.

All of them are optional UTF-8 text; a record without any is a job with defaults. The `ce_` headers follow the Kafka
protocol binding of CloudEvents 1.0 (binary mode), `traceparent` and `tracestate` the W3C trace context.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from schemas.errors import HeaderInvalid, RecordRefused

CE_SPECVERSION = "ce_specversion"
CE_ID = "ce_id"
CE_TYPE = "ce_type"
CE_SOURCE = "ce_source"
CE_TIME = "ce_time"
CONTENT_TYPE = "content-type"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
ATTEMPT = "job-attempt"
NOT_BEFORE = "job-not-before"
EXPIRES_AT = "job-expires-at"
TIMEOUT_MS = "job-timeout-ms"
MAX_ATTEMPTS = "job-max-attempts"
DEDUP_KEY = "job-dedup-key"
DEDUP_TTL_MS = "job-dedup-ttl-ms"
PARENT = "job-parent"
ORIGIN = "job-origin"
PARKED = "job-parked"
POSITION = "job-position"
OWNER = "job-owner"
LOG = "job-log"
REDRIVES = "job-redrives"
REFUSED = "job-refused"
ERROR_TYPE = "job-error-type"
ERROR_MESSAGE = "job-error-message"
ERROR_STACK = "job-error-stack"
FIRST_FAILED_AT = "job-first-failed-at"
LAST_FAILED_AT = "job-last-failed-at"

RESERVED_PREFIXES = ("ce_", "job-")
RESERVED_NAMES = frozenset({CONTENT_TYPE})
AVRO_CONTENT_TYPE = b"application/avro"
TEXT_LIMIT = 1024
MESSAGE_LIMIT = 2 * 1024
STACK_LIMIT = 16 * 1024

Headers = Sequence[tuple[str, bytes | None]]

_MILLIS = "a whole number of milliseconds of at most 18 digits"
_TIMEOUT = "a whole number of milliseconds greater than 0, of at most 18 digits"
_EPOCH = "epoch milliseconds, a whole number of at most 18 digits"
_COUNT = "a whole number of at most 9 digits"
_TEXT = f"1 to {TEXT_LIMIT} bytes of UTF-8 text"
_ORIGIN = "topic/partition/offset"

# The headers that change how a job is run; a record that has none of them takes the short way through parse().
_STEERING = frozenset(
    {
        *(ATTEMPT, NOT_BEFORE, EXPIRES_AT, TIMEOUT_MS, MAX_ATTEMPTS, DEDUP_KEY, DEDUP_TTL_MS, PARENT, ORIGIN, PARKED),
        REFUSED,
    }
)


class Origin(NamedTuple):
    """The place of a job's first publication; it stays the same through retries, dead letters and redrives."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class RetryState(NamedTuple):
    """Where a job of a retry topic stands."""

    position: int  # its offset in the queue's log; below 0 if that log is gone, or it is not known
    attempt: int  # attempts already made
    due_ms: int  # epoch milliseconds before which it must not run; 0 if it was diverted untried
    owner: int | None = None  # generation of the group in which the record's writer got the partition
    log: str = ""  # id of the queue's topic in which it has its position; empty if it is not known


class Metadata(NamedTuple):
    """What the headers of one record say about its job; times are epoch milliseconds, durations milliseconds."""

    id: str
    place: Origin  # where this very record lies
    headers: Mapping[str, bytes | None]  # as read; of several with one name the last
    attempt: int = 0  # attempts already made
    not_before: int | None = None
    expires_at: int | None = None
    timeout_ms: int | None = None  # overrides the handler's own
    max_attempts: int | None = None  # overrides the handler's own
    parent: str | None = None  # id of the job that published this one
    origin: Origin | None = None  # as in the header; None on a record that lies where it was first published
    parked: bool = False
    dedup_key: str | None = None
    dedup_ttl_ms: int | None = None

    @property
    def first(self) -> Origin:
        """The place of the job's first publication."""
        return self.origin or self.place

    @property
    def source(self) -> str | None:
        """The service that published the job."""
        return self.text(CE_SOURCE)

    @property
    def time(self) -> str | None:
        """When the job was published, as RFC 3339 text; not checked."""
        return self.text(CE_TIME)

    @property
    def type(self) -> str | None:
        """The job type the publisher states; the value's own schema decides."""
        return self.text(CE_TYPE)

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context's parent; not checked."""
        return self.text(TRACEPARENT)

    @property
    def tracestate(self) -> str | None:
        """The W3C trace context's vendor state; not checked."""
        return self.text(TRACESTATE)

    def text(self, name: str) -> str | None:
        """A header's text; bytes that are no UTF-8 are replaced, not refused."""
        value = self.headers.get(name)
        return None if value is None else value.decode("utf-8", "replace")


def parse(headers: Headers | None, topic: str, partition: int, offset: int) -> Metadata:
    """Reads a record's headers; raises HeaderInvalid for one that steers the job and cannot be understood, and
    RecordRefused."""
    found: dict[str, bytes | None] = dict(headers or ())
    place = Origin(topic, partition, offset)
    if _STEERING.isdisjoint(found):
        return Metadata(_id(found, place), place, found)
    raise_refusal(headers)
    origin = parse_origin(found[ORIGIN]) if ORIGIN in found else None
    return Metadata(
        _id(found, origin or place),
        place,
        found,
        attempt=_number(found, ATTEMPT, 9, _COUNT) or 0,
        not_before=_number(found, NOT_BEFORE, 18, _EPOCH),
        expires_at=_number(found, EXPIRES_AT, 18, _EPOCH),
        timeout_ms=_timeout(found),
        max_attempts=_number(found, MAX_ATTEMPTS, 9, _COUNT),
        parent=_optional_text(found, PARENT),
        origin=origin,
        parked=_flag(found, PARKED),
        dedup_key=_optional_text(found, DEDUP_KEY),
        dedup_ttl_ms=_number(found, DEDUP_TTL_MS, 18, _MILLIS),
    )


def raise_refusal(headers: Headers | None) -> None:
    """Raises RecordRefused for a record of which a worker has not taken everything."""
    for name, value in headers or ():
        if name == REFUSED:
            raise RecordRefused((value or b"").decode("utf-8", "backslashreplace"))


def quick_identity(headers: Headers) -> str | None:
    """The id of a job of which the headers say nothing else that matters to its run; None where `parse` must look.

    Most records are such, and this takes a fifth of the time.
    """
    found = None
    for name, value in headers:
        if name == CE_ID:
            found = value
        elif name in _STEERING:
            return None
    return found.decode() if found and found.isascii() and len(found) <= TEXT_LIMIT else None


def parse_origin(value: bytes | None) -> Origin:
    """Reads the text of a job-origin header; raises HeaderInvalid."""
    parts = (value or b"").split(b"/")
    if len(parts) == 3 and 0 < len(parts[0]) <= 249 and parts[0].isascii():
        partition, offset = parts[1:]
        if partition.isdigit() and offset.isdigit() and len(partition) <= 9 and len(offset) <= 18:
            return Origin(parts[0].decode(), int(partition), int(offset))
    raise HeaderInvalid(ORIGIN, value, _ORIGIN)


def is_reserved(name: str) -> bool:
    """Whether a header name belongs to the system, so that an application may not set it itself."""
    lowered = name.lower()
    return lowered.startswith(RESERVED_PREFIXES) or lowered in RESERVED_NAMES


def build(
    *,
    id: str,  # noqa: A002 - the word for it, everywhere
    type: str,  # noqa: A002
    source: str,
    now_ms: int,
    expires_at: int | None = None,
    not_before: int | None = None,
    timeout_ms: int | None = None,
    max_attempts: int | None = None,
    parent: str | None = None,
    extra: Iterable[tuple[str, bytes]] = (),
) -> list[tuple[str, bytes]]:
    """Writes the headers of a new job; times are epoch milliseconds.

    Names in `extra` are not checked: see is_reserved.
    """
    headers = [
        _SPECVERSION,
        (CE_ID, id.encode()),
        *_constant(type, source),
        (CE_TIME, rfc3339(now_ms)),
    ]
    for name, value in (
        (EXPIRES_AT, expires_at),
        (NOT_BEFORE, not_before),
        (TIMEOUT_MS, timeout_ms),
        (MAX_ATTEMPTS, max_attempts),
        (PARENT, parent),
    ):
        if value is not None:
            headers.append((name, str(value).encode()))
    headers.extend(extra)
    return headers


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
    kept = _without(_FAILURE_AND_REFUSAL if attempt is None else _FAILURE_AND_RETRY, original)
    found = dict(kept)
    now = str(now_ms).encode()
    if not _readable_origin(found):
        kept.append((ORIGIN, str(origin).encode()))
    if not _readable_time(found, FIRST_FAILED_AT):
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
    kept = _without(_RETRY if failure is None else _RETRY_AND_FAILURE, original)
    found = dict(kept)
    if not _readable_origin(found):
        kept.append((ORIGIN, str(origin).encode()))
    kept.append((POSITION, b"%d" % state.position))
    if state.owner is not None:
        kept.append((OWNER, b"%d" % state.owner))
    if state.log:
        kept.append((LOG, state.log.encode()))
    kept.append((ATTEMPT, b"%d" % state.attempt))
    kept.append((NOT_BEFORE, b"%d" % state.due_ms) if state.due_ms else (PARKED, b"1"))
    first = first_failed_ms or (0 if failure is None else now_ms)
    if first and not _readable_time(found, FIRST_FAILED_AT):
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


def _without(names: frozenset[str], headers: Headers | None) -> list[tuple[str, bytes | None]]:
    """The headers but for these. NUL in a name is escaped, since clients written in C end a name there: what is left of
    it might be one of ours."""
    kept = [header for header in headers or () if header[0] not in names]
    if "\0" in "".join([name for name, _ in kept]):
        return [(name.replace("\0", "\\x00"), value) for name, value in kept]
    return kept


def retry_state(headers: Headers | None, offset: int) -> RetryState:
    """Reads where a job of a retry topic stands, from its headers and its own offset there.

    Never raises, since such a record must not be lost: without a readable time it is due at once, without a readable
    number of attempts it was tried once, and without a readable position it comes before the jobs that have one, in the
    order of the retry topic.
    """
    found = dict(headers or ())
    position = found.get(POSITION) or b""
    known = position.removeprefix(b"-").isdigit() and len(position) <= _POSITION_DIGITS
    attempt = _count_or(found, ATTEMPT, 9)
    due_ms = _count_or(found, NOT_BEFORE, 18)
    untried = due_ms is None and found.get(PARKED) == b"1"
    return RetryState(
        int(position) if known else offset - _BELOW_ALL,
        (0 if untried else 1) if attempt is None else attempt,
        0 if untried else max(1, due_ms or 0),
        _count_or(found, OWNER, 9),
        (found.get(LOG) or b"")[:TEXT_LIMIT].decode("utf-8", "replace"),
    )


def first_failure(headers: Headers | None) -> int | None:
    """When a job first failed, in epoch milliseconds; None where that is not said, or cannot be read."""
    return _count_or(dict(headers or ()), FIRST_FAILED_AT, 18)


def last_error(headers: Headers | None) -> str | None:
    """The type of the error that a retry record or a dead letter tells of; bytes that are no UTF-8 are replaced."""
    value = dict(headers or ()).get(ERROR_TYPE)
    return None if value is None else value.decode("utf-8", "replace")


def _count_or(found: Mapping[str, bytes | None], name: str, digits: int) -> int | None:
    try:
        return _number(found, name, digits, "")
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


@lru_cache(maxsize=8)  # Many jobs share a millisecond.
def rfc3339(epoch_ms: int) -> bytes:
    """Epoch milliseconds as CloudEvents writes a time, such as 2026-01-31T08:15:30.123Z."""
    moment = datetime.fromtimestamp(epoch_ms // 1000, UTC)
    # Not strftime: it imports a module, which an interpreter that ends refuses.
    return f"{moment.isoformat()[:19]}.{epoch_ms % 1000:03d}Z".encode()


_CUT = "…".encode()
_SPECVERSION = (CE_SPECVERSION, b"1.0")
_FAILURE = frozenset({ERROR_TYPE, ERROR_MESSAGE, ERROR_STACK, LAST_FAILED_AT})
_FAILURE_AND_REFUSAL = _FAILURE | {REFUSED}
_FAILURE_AND_RETRY = _FAILURE_AND_REFUSAL | {ATTEMPT, NOT_BEFORE, PARKED, POSITION, OWNER, LOG}
_RETRY = frozenset({ATTEMPT, NOT_BEFORE, PARKED, POSITION, OWNER, LOG, ERROR_STACK})
_RETRY_AND_FAILURE = _RETRY | _FAILURE
#: Digits of a position and its sign: the longest is far from what _BELOW_ALL makes of an offset.
_POSITION_DIGITS = 18
_BELOW_ALL = 4 * 10**18


@lru_cache(maxsize=1024)
def _constant(job_type: str, source: str) -> tuple[tuple[str, bytes], ...]:
    return (CE_TYPE, job_type.encode()), (CE_SOURCE, source.encode()), (CONTENT_TYPE, AVRO_CONTENT_TYPE)


def _id(found: Mapping[str, bytes | None], place: Origin) -> str:
    """The job's id: its own, or where it was first published, which also stays the same."""
    return _text(found, CE_ID) if CE_ID in found else f"{place.topic}-{place.partition}-{place.offset}"


def _text(found: Mapping[str, bytes | None], name: str) -> str:
    value = found[name]
    if value and len(value) <= TEXT_LIMIT:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    raise HeaderInvalid(name, value, _TEXT)


def _optional_text(found: Mapping[str, bytes | None], name: str) -> str | None:
    return _text(found, name) if name in found else None


def _number(found: Mapping[str, bytes | None], name: str, digits: int, expected: str) -> int | None:
    if name not in found:
        return None
    value = found[name]
    # isdigit() of bytes is ASCII only, whereas int() would also take signs, spaces and underscores.
    if value is None or not value.isdigit() or len(value) > digits:
        raise HeaderInvalid(name, value, expected)
    return int(value)


def _timeout(found: Mapping[str, bytes | None]) -> int | None:
    timeout = _number(found, TIMEOUT_MS, 18, _TIMEOUT)
    if timeout == 0:
        raise HeaderInvalid(TIMEOUT_MS, found[TIMEOUT_MS], _TIMEOUT)
    return timeout


def _flag(found: Mapping[str, bytes | None], name: str) -> bool:
    value = found.get(name, b"0")
    if value not in {b"0", b"1"}:
        raise HeaderInvalid(name, value, "0 or 1")
    return value == b"1"


def _readable_origin(found: Mapping[str, bytes | None]) -> bool:
    if ORIGIN not in found:
        return False
    try:
        parse_origin(found[ORIGIN])
    except HeaderInvalid:
        return False
    return True


def _readable_time(found: Mapping[str, bytes | None], name: str) -> bool:
    try:
        return _number(found, name, 18, _EPOCH) is not None
    except HeaderInvalid:
        return False
