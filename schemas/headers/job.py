"""Reads and writes the headers that say what a job is, and how it is to be run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from schemas.errors import HeaderInvalid, RecordRefused
from schemas.headers.names import (
    ATTEMPT,
    AVRO_CONTENT_TYPE,
    CE_ID,
    CE_SOURCE,
    CE_SPECVERSION,
    CE_TIME,
    CE_TYPE,
    CONTENT_TYPE,
    DEDUP_KEY,
    DEDUP_TTL_MS,
    EXPIRES_AT,
    MAX_ATTEMPTS,
    NOT_BEFORE,
    ORIGIN,
    PARENT,
    PARKED,
    REFUSED,
    TEXT_LIMIT,
    TIMEOUT_MS,
    Headers,
)

_MILLIS = "a whole number of milliseconds of at most 18 digits"
_TIMEOUT = "a whole number of milliseconds greater than 0, of at most 18 digits"
EPOCH = "epoch milliseconds, a whole number of at most 18 digits"
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
        attempt=number(found, ATTEMPT, 9, _COUNT) or 0,
        not_before=number(found, NOT_BEFORE, 18, EPOCH),
        expires_at=number(found, EXPIRES_AT, 18, EPOCH),
        timeout_ms=_timeout(found),
        max_attempts=number(found, MAX_ATTEMPTS, 9, _COUNT),
        parent=_optional_text(found, PARENT),
        origin=origin,
        parked=_flag(found, PARKED),
        dedup_key=_optional_text(found, DEDUP_KEY),
        dedup_ttl_ms=number(found, DEDUP_TTL_MS, 18, _MILLIS),
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


def shared_headers(job_type: str, source: str) -> tuple[tuple[str, bytes], ...]:
    """Returns the headers that new jobs of one type share, those of CloudEvents' binary mode but for id and time.

    job_type  the full name of the payload's schema
    source    the service that publishes them
    """
    return (
        (CE_SPECVERSION, b"1.0"),
        (CE_TYPE, job_type.encode()),
        (CE_SOURCE, source.encode()),
        (CONTENT_TYPE, AVRO_CONTENT_TYPE),
    )


def build(shared: Iterable[tuple[str, bytes]], job_id: str, now_ms: int) -> list[tuple[str, bytes]]:
    """Returns the headers of one new job, for its publisher to add to: the shared ones, its id and its time.

    now_ms  epoch milliseconds of its publication
    """
    # Not job_id.encode(): a subclass of str may make anything of that.
    return [*shared, (CE_ID, str.encode(job_id)), _time(now_ms)]


@lru_cache(maxsize=8)  # Many jobs share a millisecond.
def _time(epoch_ms: int) -> tuple[str, bytes]:
    return CE_TIME, rfc3339(epoch_ms)


def rfc3339(epoch_ms: int) -> bytes:
    """Epoch milliseconds as CloudEvents writes a time, such as 2026-01-31T08:15:30.123Z."""
    moment = datetime.fromtimestamp(epoch_ms // 1000, UTC)
    # Not strftime: it imports a module, which an interpreter that ends refuses.
    return f"{moment.isoformat()[:19]}.{epoch_ms % 1000:03d}Z".encode()


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


def number(found: Mapping[str, bytes | None], name: str, digits: int, expected: str) -> int | None:
    """The number in a header; None where there is none. Raises HeaderInvalid, saying what is `expected`, where it is no
    plain decimal number of at most so many digits."""
    if name not in found:
        return None
    value = found[name]
    # isdigit() of bytes is ASCII only, whereas int() would also take signs, spaces and underscores.
    if value is None or not value.isdigit() or len(value) > digits:
        raise HeaderInvalid(name, value, expected)
    return int(value)


def _timeout(found: Mapping[str, bytes | None]) -> int | None:
    timeout = number(found, TIMEOUT_MS, 18, _TIMEOUT)
    if timeout == 0:
        raise HeaderInvalid(TIMEOUT_MS, found[TIMEOUT_MS], _TIMEOUT)
    return timeout


def _flag(found: Mapping[str, bytes | None], name: str) -> bool:
    value = found.get(name, b"0")
    if value not in {b"0", b"1"}:
        raise HeaderInvalid(name, value, "0 or 1")
    return value == b"1"
