"""One batch of a fetch that is read in pieces: by aiokafka's compiled decoder, or record by record where it is odd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from struct import unpack_from
from time import monotonic
from typing import Any

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch

from schemas.headers import REFUSED
from schemas.limits import Limits
from streams.kafka.fetch.raw_records import (
    BATCH_HEAD,
    BatchHead,
    BrokenRecord,
    RawRecord,
    RecordReader,
    has_too_many_headers,
    largest_record,
)
from streams.kafka.fetch.unpacking import CannotUnpack, Unpacker

#: Records below this size are made with all their headers before these are counted: it takes a millisecond.
_SMALL = 16 * 1024

#: Headers that the worker itself may have added to a job.
_OWN_HEADERS = 20

_CODEC, _LOG_APPEND_TIME = 0x07, 0x08

#: Where a batch says how it is packed, of two bytes the last; and how many records it has.
_ATTRIBUTES_AT, _COUNT_AT = 22, 57

#: In the formats before the second: where they say how they are packed, and where the key begins.
_OLD_ATTRIBUTES_AT, _OLD_KEY_AT = 17, {0: 18, 1: 26}


class OpenBatch:
    """A batch of a fetch, whose records are taken one after the other, each once, whatever their bytes are.

    What is above a bound, or follows no format, comes out as a record without what cannot be had of it, and is marked
    as refused. Raises CorruptRecordException where not even their number can be relied on.
    """

    def __init__(self, start: int, end: int, limits: Limits) -> None:
        """The records from offset `start` to before `end` are wanted."""
        #: The offset behind its last record.
        self.end = end
        #: What it has unpacked to, in bytes; 0 if it was not packed.
        self.unpacked = 0
        self.ended = False
        self._start = start
        #: The last offset that was read quickly.
        self._last = -1
        #: Whether it says that it has a record of every offset.
        self._dense = False
        self._limits = limits
        #: What may be decoded quickly, and is looked at again where that fails; None where it is read carefully.
        self._quick: Iterator[Any] | None = None
        self._careful: Iterator[RawRecord] = iter(())

    def take(self, most: int, until: float) -> list[Any]:
        """Take up to so many of the next records, fewer where they take longer than that time, and return them.

        until  monotonic seconds; one is taken all the same
        """
        if self._quick is not None:
            try:
                return self._take_quickly(self._quick, most)
            except Exception:  # Read one by one, the record that is broken is found, and the error says which.
                self._quick, self._careful = None, self._read_carefully()
        return self._take_carefully(most, until)

    def _take_carefully(self, most: int, until: float) -> list[Any]:
        records: list[Any] = []
        self.ended = False
        for record in islice(self._careful, most):
            records.append(record)
            if monotonic() >= until:
                return records
        self.ended = len(records) < most
        return records

    def _take_quickly(self, quick: Iterator[Any], most: int) -> list[Any]:
        records = list(islice(quick, most))
        self.ended = len(records) < most
        if records:
            self._check(records)
            last = records[-1].offset
            if records[0].offset < self._start:
                records = [record for record in records if record.offset >= self._start]
            self._start = max(self._start, last + 1)
            self._last = last
        return records

    def _check(self, records: list[Any]) -> None:
        """Raises BrokenRecord where these must be looked at one by one."""
        first, last = records[0].offset, records[-1].offset
        if not self._last < first <= last < self.end:
            raise BrokenRecord("a record out of its batch")
        offsets = [record.offset for record in records]
        # Compaction leaves gaps; without any, this is a third of the time of a look at each pair.
        if offsets != [*range(first, last + 1)] and any(one >= other for one, other in pairwise(offsets)):
            raise BrokenRecord("records in no order")
        if self._dense and (first != self._last + 1 or last - first >= len(records)):
            raise BrokenRecord("records are missing")

    def _read_carefully(self) -> Iterator[RawRecord]:
        raise NotImplementedError


class Batch2(OpenBatch):
    """A batch of Kafka's format 2."""

    def __init__(
        self,
        batch: Any,
        raw: bytes,
        start: int,
        limits: Limits,
        unpacker: Unpacker,
        *,
        on_name: Callable[[bytes], None],
    ) -> None:
        super().__init__(start, batch.next_offset, limits)
        append_time = batch.max_timestamp if batch.attributes & _LOG_APPEND_TIME else None
        self._head = BatchHead(batch.base_offset, batch.first_timestamp, append_time)
        self._count: int = unpack_from(">i", raw, _COUNT_AT)[0]
        self._last = batch.base_offset - 1
        self._dense = self._count == self.end - batch.base_offset
        self._most_headers = limits.headers + _OWN_HEADERS
        self._may_have_too_many_headers = False
        self._on_name = on_name
        self._body = b""
        try:
            self._unpack(batch, raw, unpacker)
        except CannotUnpack as error:
            self._check_count()
            self.unpacked = limits.batch_bytes
            self._careful = _refused(self._start, self.end, f"the batch of the record was refused: {error}")

    def _unpack(self, batch: Any, raw: bytes, unpacker: Unpacker) -> None:
        codec = batch.attributes & _CODEC
        if codec:
            head = raw[:_ATTRIBUTES_AT] + bytes([raw[_ATTRIBUTES_AT] & ~_CODEC]) + raw[_ATTRIBUTES_AT + 1 : BATCH_HEAD]
            self._body = unpacker.unpack(codec, memoryview(raw)[BATCH_HEAD:], head)
            self.unpacked = len(self._body)
            batch = DefaultRecordBatch(self._body)
        else:
            self._body = raw
        if self._is_plain():
            # aiokafka's own iterator may be asked for once only.
            self._quick = islice(batch, None)
        else:
            self._careful = self._read_carefully()

    def _is_plain(self) -> bool:
        """Whether no record has so many headers that they should not be made."""
        body, end = self._body, len(self._body)
        try:
            size = largest_record(body, BATCH_HEAD, end)
            self._may_have_too_many_headers = size > 2 * self._most_headers
            return size < _SMALL or not has_too_many_headers(body, BATCH_HEAD, end, self._most_headers)
        except (BrokenRecord, IndexError):
            return False

    def _check(self, records: list[Any]) -> None:
        super()._check(records)
        if self._may_have_too_many_headers and any(len(record.headers) > self._most_headers for record in records):
            raise BrokenRecord("a record with too many headers")

    def _read_carefully(self) -> Iterator[RawRecord]:
        reader = RecordReader(self._head, self._limits.headers, self._most_headers, self._on_name)
        return _Careful(reader, self._head.base_offset, self._count, self._start, self.end).read(self._body)

    def _check_count(self) -> None:
        _check_count(self._count, self._head.base_offset, self.end)


@dataclass(frozen=True, slots=True)
class _Careful:
    """Reads a batch record by record. It knows nothing of its OpenBatch, which would be in a cycle with it."""

    reader: RecordReader
    base_offset: int
    #: How many records the batch says that it has.
    count: int
    #: From which offset on its records are wanted, and the offset behind its last.
    start: int
    end: int

    def read(self, body: bytes) -> Iterator[RawRecord]:
        """The wanted records, those that cannot be read marked as refused. Raises CorruptRecordException."""
        last, read, reason = self.base_offset - 1, 0, "its batch ends before it"
        try:
            for record in self.reader.read(body, BATCH_HEAD, len(body)):
                self._check_offset(record.offset, last)
                last, read = record.offset, read + 1
                if record.offset >= self.start:
                    yield record
        except BrokenRecord as error:
            reason = f"its bytes are no record of Kafka's: {error}"
        if read < self.count:
            _check_count(self.count, self.base_offset, self.end)
            yield from _refused(max(last + 1, self.start), self.end, reason)

    def _check_offset(self, offset: int, last: int) -> None:
        dense = self.count == self.end - self.base_offset
        if not last < offset < self.end or (dense and offset != last + 1):
            raise BrokenRecord(f"an offset of {offset} between {last} and {self.end}")


def _check_count(count: int, base_offset: int, end: int) -> None:
    """Raise where a batch that cannot be read has fewer records than offsets: nobody knows which."""
    if count != end - base_offset:
        raise CorruptRecordException(f"a batch of {count} records that ends before offset {end}")


def _refused(start: int, end: int, reason: str) -> Iterator[RawRecord]:
    """Records without contents, marked as refused, for those from an offset on that cannot be read."""
    mark = [(REFUSED, f"{reason}; it lies in its topic as it was published, as long as that keeps it".encode())]
    for offset in range(start, end):
        yield RawRecord(offset, None, None, mark, -1)


class OldBatch(OpenBatch):
    """A batch of one of the formats before the second, which have no headers. It is unpacked twice, if it is packed."""

    def __init__(self, batch: Any, raw: bytes, start: int, limits: Limits, unpacker: Unpacker) -> None:
        super().__init__(start, batch.next_offset, limits)
        try:
            self._measure(raw, unpacker)
            self._quick = iter(batch)
        except CannotUnpack as error:
            self.unpacked = limits.batch_bytes
            self._careful = _refused(self._start, self.end, f"the batch of the record was refused: {error}")

    def _measure(self, raw: bytes, unpacker: Unpacker) -> None:
        codec = raw[_OLD_ATTRIBUTES_AT] & _CODEC
        if codec:
            key_at = _OLD_KEY_AT[raw[_OLD_ATTRIBUTES_AT - 1]]
            (key,) = unpack_from(">i", raw, key_at)
            self.unpacked = len(unpacker.unpack(codec, memoryview(raw)[key_at + 4 + max(0, key) + 4 :]))

    def _read_carefully(self) -> Iterator[RawRecord]:
        raise CorruptRecordException(f"a batch of an old format that ends before offset {self.end} cannot be read")
