"""Records as they lie in a batch of Kafka's format 2: a look at their sizes, and a decoder that takes any header name.

aiokafka's compiled decoder makes all that a record claims before anybody can look at it, and gives a whole batch up for
a name that is no UTF-8. So what is odd is read here, several times slower. The format is that of Kafka's own
documentation, "Record".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from schemas.headers import REFUSED, Headers

#: What a batch has before its records. Bytes.
BATCH_HEAD = 61

#: The longest varint that Kafka reads, in bytes, of 64 bits.
_VARINT = 10


class BrokenRecord(ValueError):
    """Raised for bytes that are no record."""


class RawRecord(NamedTuple):
    """A record that was read here."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int


class BatchHead(NamedTuple):
    """What the head of a batch says of its records."""

    base_offset: int
    first_timestamp: int
    #: The time of all its records, where the broker has set it.
    append_timestamp: int | None


def largest_record(data: bytes, at: int, end: int) -> int:
    """The bytes of the largest of the records from `at` to `end`; raises BrokenRecord or IndexError."""
    found = 0
    while at < end:
        length = data[at]
        at += 1
        if length > 127:
            # Of one or two bytes, as most lengths are, it is read in line: this is done for every record of a batch.
            more = data[at]
            if more > 127:
                length, at = _zigzag(data, at - 1)
            else:
                length = length & 127 | more << 7
                at += 1
        if length & 1:
            raise BrokenRecord("a record of negative length")
        if length > found:  # noqa: PLR1730 - half the time of max()
            found = length
        at += length >> 1
    return found >> 1


def has_too_many_headers(data: bytes, at: int, end: int, most: int) -> bool:
    """Whether one of the records from `at` to `end` has more than `most` headers; raises as `largest_record`."""
    while at < end:
        length, at = _varint(data, at)
        if length > 2 * most and _varint(data, _after_value(data, at))[0] > most:
            return True
        at += max(0, length)
    return False


def _after_value(data: bytes, at: int) -> int:
    """Where the number of headers of a record stands whose attributes are at `at`."""
    for _ in range(2):  # its time and offset, behind a byte of attributes
        _, at = _varint(data, at + (_ == 0))
    for _ in range(2):  # its key and value
        length, at = _varint(data, at)
        at += max(0, length)
    return at


class RecordReader:
    """Reads the records of a batch one by one.

    limit         headers that a job may have
    most_headers  and with those of the worker's own; a record that has more comes without any, marked as refused
    on_name       is called with a name that is no UTF-8, which is escaped
    """

    def __init__(self, head: BatchHead, limit: int, most_headers: int, on_name: Callable[[bytes], None]) -> None:
        self._head = head
        self._limit = limit
        self._most_headers = most_headers
        self._on_name = on_name

    def read(self, data: bytes, at: int, end: int) -> Iterator[RawRecord]:
        """The records from `at` to `end`; raises BrokenRecord."""
        while at < end:
            try:
                length, start = _varint(data, at)
                at = start + length
                if not start < at <= end:
                    raise BrokenRecord(f"a record of {length:,} bytes where {end - start:,} are left")
                record = self._record(data, start, at)
            except IndexError:
                raise BrokenRecord("a record that ends within a number") from None
            yield record

    def _record(self, data: bytes, at: int, end: int) -> RawRecord:
        late, at = _varint(data, at + 1)  # A byte of attributes, none of which is in use.
        delta, at = _varint(data, at)
        key, at = _bytes(data, at, end)
        value, at = _bytes(data, at, end)
        count, at = _varint(data, at)
        head = self._head
        timestamp = head.first_timestamp + late if head.append_timestamp is None else head.append_timestamp
        headers = self._headers(data, at, end, count)
        return RawRecord(head.base_offset + delta, key, value, headers, timestamp)

    def _headers(self, data: bytes, at: int, end: int, count: int) -> Headers:
        if count > self._most_headers:
            reason = f"{count:,} headers are more than STREAMS_MAX_HEADERS={self._limit}: they are left out"
            return [(REFUSED, reason.encode())]
        headers = []
        for _ in range(count):
            name, at = _bytes(data, at, end)
            content, at = _bytes(data, at, end)
            headers.append((self._name(name or b""), content))
        if at != end or count < 0:
            raise BrokenRecord("a record whose headers do not end where it does")
        return headers

    def _name(self, name: bytes) -> str:
        try:
            return name.decode()
        except UnicodeDecodeError:
            self._on_name(name)
            return name.decode("utf-8", "backslashreplace")


def _bytes(data: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    length, at = _varint(data, at)
    if length < 0:
        return None, at
    if at + length > end:
        raise BrokenRecord(f"{length:,} bytes of key, value or header where {end - at:,} are left")
    return data[at : at + length], at + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number, at = _zigzag(data, at)
    return (number >> 1) ^ -(number & 1), at


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    for position in range(at, at + _VARINT):
        byte = data[position]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position + 1
        shift += 7
    raise BrokenRecord("a number of more than ten bytes")
