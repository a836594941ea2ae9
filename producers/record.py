"""Makes the record of a job: what goes to Kafka, decided before anything is sent."""

from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

from uuid_utils import uuid7

from producers.errors import OptionInvalid, PayloadTooLarge
from producers.topics import queue_topic
from schemas.catalog import Catalog
from schemas.codec import Codec
from schemas.headers import (
    CE_ID,
    CE_TIME,
    EXPIRES_AT,
    MAX_ATTEMPTS,
    PARENT,
    TEXT_LIMIT,
    TIMEOUT_MS,
    build,
    is_reserved,
    rfc3339,
)

MAX_BYTES = 1_000_000
_SMALL = 16_384  # bytes that our own headers stay below
_OVERHEAD = 128  # bytes of a record and its batch around it
_MOST_ATTEMPTS = 10_000  # as of a retry policy
_LONGEST_MS = 10**15  # 30,000 years, so that times keep within the digits that readers accept

Seconds = float | timedelta
UserHeaders = Mapping[str, str | bytes]


class JobRecord(NamedTuple):
    """One job as Kafka takes it."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    id: str


def compose(
    codec: Codec,
    payload: Any,
    *,
    namespace: str,
    source: str,
    now_ms: int,
    key: str | None = None,
    queue: str | None = None,
    id: str | None = None,  # noqa: A002 - the word for it, everywhere
    headers: UserHeaders | None = None,
    timeout: Seconds | None = None,
    expires_in: Seconds | None = None,
    max_attempts: int | None = None,
    parent: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> JobRecord:
    """Return the record of a job; the queue is that of its type, jobs.email.SendEmail's being email.

    Raises PayloadInvalid, ModelInvalid, PayloadTooLarge and OptionInvalid; and the codec's registry errors.
    """
    job_type, topic = route(type(payload), namespace, queue)  # type: ignore[arg-type] # a class is hashable
    value = codec.encode(payload, topic)
    job_id = str(uuid7()) if id is None else _text("id", id)
    built = [*_lasting(job_type, source), (CE_ID, str.encode(job_id)), (CE_TIME, rfc3339(now_ms))]
    if expires_in is not None:
        built.append((EXPIRES_AT, b"%d" % (now_ms + _milliseconds("expires_in", expires_in))))
    if timeout is not None:
        built.append((TIMEOUT_MS, b"%d" % _milliseconds("timeout", timeout)))
    if max_attempts is not None:
        built.append((MAX_ATTEMPTS, b"%d" % _attempts(max_attempts)))
    if parent is not None:
        built.append((PARENT, str.encode(_text("parent", parent))))
    if headers is not None:
        built.extend(_user_headers(headers))
    key_bytes = b"" if key is None else _key(key)
    if headers is not None or len(value) + len(key_bytes) > max_bytes - _SMALL:
        _check_size(job_type, key_bytes, value, built, max_bytes)
    return JobRecord(topic, key_bytes or None, value, built, job_id)


@lru_cache(maxsize=1024)
def route(model: type, namespace: str, queue: str | None) -> tuple[str, str]:
    """Return the job type of a model, and the topic its jobs go to."""
    job_type = Catalog.job_type_of(model)
    if queue is None:
        queue = job_type.rpartition(".")[0].rpartition(".")[2]
    if not queue:
        raise OptionInvalid("queue", f"a name, since {job_type} has no Avro namespace to take it from", queue)
    return job_type, queue_topic(namespace, queue)


@lru_cache(maxsize=1024)
def _lasting(job_type: str, source: str) -> list[tuple[str, bytes]]:
    """Return the headers that all jobs of a type share."""
    drawn_up = build(id="", type=job_type, source=source, now_ms=0)
    return [header for header in drawn_up if header[0] not in {CE_ID, CE_TIME}]


def _check_size(job_type: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]], max_bytes: int) -> None:
    size = _OVERHEAD + len(key) + len(value) + sum(len(name) + len(content) for name, content in headers)
    if size > max_bytes:
        raise PayloadTooLarge(job_type, size, max_bytes)


def _attempts(count: int) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= _MOST_ATTEMPTS:
        raise OptionInvalid("max_attempts", f"a whole number from 1 (no retry) to {_MOST_ATTEMPTS}", count)
    return count


def _key(key: str) -> bytes:
    # Asked in this order since every job comes by here.
    try:
        encoded = str.encode(key)  # Whatever a subclass makes of it.
    except (TypeError, UnicodeEncodeError):
        encoded = b""
    if not encoded:
        raise OptionInvalid("key", "text that is not empty; leave it out for a job that no other waits for", key)
    return encoded


def _text(option: str, text: str) -> str:
    if not isinstance(text, str) or not text or len(_utf8(option, text)) > TEXT_LIMIT:
        raise OptionInvalid(option, f"1 to {TEXT_LIMIT} bytes of text", text)
    return text


def _utf8(option: str, text: str) -> bytes:
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        raise OptionInvalid(option, "text that UTF-8 can encode", text) from None


def _milliseconds(option: str, duration: Seconds) -> int:
    expected = f"seconds greater than 0 and less than {_LONGEST_MS // 1000}, as a number or a timedelta"
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not isfinite(seconds):
        raise OptionInvalid(option, expected, duration)
    if not 0 < seconds * 1000 < _LONGEST_MS:
        raise OptionInvalid(option, expected, duration)
    return max(1, round(seconds * 1000))


def _user_headers(headers: UserHeaders) -> list[tuple[str, bytes]]:
    return [(_header_name(name), _header_value(name, value)) for name, value in headers.items()]


def _header_name(name: str) -> str:
    if not isinstance(name, str) or not (name := str.__str__(name)) or "\0" in name:
        raise OptionInvalid("headers", "names that are not empty, without NUL", name)
    if is_reserved(name):
        raise OptionInvalid(
            "headers", "names other than content-type, ce_* and job-*: use the options of publish", name
        )
    _utf8("headers", name)
    return name


def _header_value(name: str, value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise OptionInvalid(f"header {name!r}", "text or bytes", value)
    return _utf8(f"header {name!r}", value)
