"""Makes the record of a job: what goes to Kafka, decided before anything is sent."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from uuid_utils import uuid7

from producers.delayed.due import due_ms
from producers.errors import OptionInvalid, PayloadTooLarge
from producers.publish_options import OF_ONE, PublishOptions, Seconds, UserHeaders, check_names
from producers.routing.topics import queue_topic, scheduled_topic
from schemas.catalog import Catalog
from schemas.codec import Codec
from schemas.headers import (
    EXPIRES_AT,
    KEY,
    MAX_ATTEMPTS,
    NOT_BEFORE,
    PARENT,
    QUEUE,
    TEXT_LIMIT,
    TIMEOUT_MS,
    build,
    is_delayed_id,
    is_reserved,
    shared_headers,
)

MAX_BYTES = 1_000_000
_SMALL = 16_384  # bytes that our own headers stay below
_OVERHEAD = 128  # bytes of a record and its batch around it
_MOST_ATTEMPTS = 10_000  # as of a retry policy
_LONGEST_MS = 10**15  # 30,000 years, so that times keep within the digits that readers accept
_A_DURATION = f"seconds greater than 0 and less than {_LONGEST_MS // 1000}, as a number or a timedelta"


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
    options: PublishOptions,
    *,
    namespace: str,
    source: str,
    now_ms: int,
    parent: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> JobRecord:
    """Return the record of a job, as the producers and a worker that publishes a follow-up send it.

    now_ms     epoch milliseconds of its publication
    parent     id of the job that publishes it
    max_bytes  of the record, before compression

    Raises PayloadInvalid, ModelInvalid, PayloadTooLarge and OptionInvalid, TypeError for an option that there is not,
    and the codec's registry errors.
    """
    job_type, topic, shared = _of_all(type(payload), namespace, options.get("queue"), source)  # type: ignore[arg-type] # a class is hashable
    value = codec.encode(payload, topic)
    key_bytes = b"" if (key := options.get("key")) is None else _key(key)
    job_id = headers = None
    checked = False
    if more := not _USUAL.issuperset(options):  # Most jobs have no others, and looking for each takes its time.
        job_id, headers = options.get("id"), options.get("headers")
    job_id = str(uuid7()) if job_id is None else _text("id", job_id)
    built = build(shared, job_id, now_ms)
    if more:
        due = due_ms(options, now_ms)
        _add_headers_of(options, now_ms if due is None else max(now_ms, due), built)
        if due is not None:
            checked = True  # Its key is a header now, of any length.
            topic, key_bytes = _delay(built, topic, key_bytes, job_id, due, namespace)
    if parent is not None:
        built.append((PARENT, str.encode(_text("parent", parent))))
    if headers is not None:
        checked = True
        built.extend(_user_headers(headers))
    if checked or len(value) + len(key_bytes) > max_bytes - _SMALL:
        _check_size(job_type, key_bytes, value, built, max_bytes)
    # As JobRecord(...), in a third of the time.
    return tuple.__new__(JobRecord, (topic, key_bytes or None, value, built, job_id))


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
def _of_all(
    model: type, namespace: str, queue: str | None, source: str
) -> tuple[str, str, Sequence[tuple[str, bytes]]]:
    """Return what all jobs of a model have in common: job type, topic and headers."""
    job_type, topic = route(model, namespace, queue)
    return job_type, topic, shared_headers(job_type, source)


def _delay(  # noqa: PLR0917 - one step of compose, which has them all
    headers: list[tuple[str, bytes]], topic: str, key: bytes, job_id: str, due: int, namespace: str
) -> tuple[str, bytes]:
    """Have a job wait: append where it goes and when. Returns the topic where it waits, and its record's key there."""
    waits_as = str.encode(job_id)
    if not is_delayed_id(waits_as):
        raise OptionInvalid("id", "an id of a delayed job that begins with neither command/ nor schedule/", job_id)
    headers += ((NOT_BEFORE, b"%d" % due), (QUEUE, topic[len(namespace) + 1 :].encode()))
    if key:
        headers.append((KEY, key))
    return scheduled_topic(namespace), waits_as


def _add_headers_of(options: PublishOptions, now_ms: int, headers: list[tuple[str, bytes]]) -> None:
    """Append the headers that options become, in an order that is always the same.

    now_ms  when the job can run at the earliest, which times count from
    """
    check_names("publish", OF_ONE, options)
    for name, header_of in _HEADER_OF.items():
        value = options.get(name)
        if value is not None:
            headers.append(header_of(name, value, now_ms))


def _check_size(job_type: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]], max_bytes: int) -> None:
    size = _OVERHEAD + len(key) + len(value) + sum(len(name) + len(content) for name, content in headers)
    if size > max_bytes:
        raise PayloadTooLarge(job_type, size, max_bytes)


def _attempts(option: str, count: int) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= _MOST_ATTEMPTS:
        raise OptionInvalid(option, f"a whole number from 1 (no retry) to {_MOST_ATTEMPTS}", count)
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
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, (int, float))
        # An int may be larger than any float, which comparing does not mind.
        or not 0 < seconds * 1000 < _LONGEST_MS
    ):
        raise OptionInvalid(option, _A_DURATION, duration)
    return max(1, round(seconds * 1000))


def _user_headers(headers: UserHeaders) -> list[tuple[str, bytes]]:
    if not isinstance(headers, Mapping):
        raise OptionInvalid("headers", "a mapping of names to text or bytes, such as a dict", headers)
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


#: The options that become a header each: how, from its name, its value and the epoch milliseconds of publication.
_HEADER_OF: dict[str, Callable[[str, Any, int], tuple[str, bytes]]] = {
    "expires_in": lambda name, value, now_ms: (EXPIRES_AT, b"%d" % (now_ms + _milliseconds(name, value))),
    "timeout": lambda name, value, _: (TIMEOUT_MS, b"%d" % _milliseconds(name, value)),
    "max_attempts": lambda name, value, _: (MAX_ATTEMPTS, b"%d" % _attempts(name, value)),
}
#: The other options, which compose() heeds itself, and those that most jobs have.
_NO_HEADERS = frozenset({"key", "queue", "id", "headers", "delay", "run_at"})
_USUAL = frozenset({"key", "queue"})
