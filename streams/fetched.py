"""From the bytes of a fetch to records: as aiokafka decodes them, only quicker, and no record ends the worker.

It knows the inside of aiokafka's fetcher.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy
from aiokafka.record.util import decode_varint_py

logger = logging.getLogger("streams.transport")

#: Is called with the partition that cannot be read, where it cannot be read on, and what went wrong.
OnUnreadable = Callable[[Any, int, Exception], None]


#: Distinct header names of which the log tells that they are escaped; a producer may send one with every job.
_TOLD = 100


def install(on_unreadable: OnUnreadable) -> None:
    """Have aiokafka's fetchers decode by this module from now on."""
    told: set[bytes] = set()

    def records(*args: Any, **kwargs: Any) -> FetchedRecords:
        return FetchedRecords(on_unreadable, told, *args, **kwargs)

    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = records


class Batches(MemoryRecords):  # type: ignore[misc] # it is final for mypy alone
    """The batches of a fetch of one partition, which also knows its bytes and how far it is."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.raw = raw
        self.taken = 0

    def next_batch(self) -> Any:
        """The next batch; None after the last."""
        self.taken += 1
        return super().next_batch()

    def last_again(self) -> Lenient:
        """The batch that was taken last, and all after it."""
        lenient = Lenient(self.raw)
        for _ in range(self.taken - 1):
            lenient.next_batch()
        return lenient


class FetchedRecords(fetcher.PartitionRecords):  # type: ignore[misc] # aiokafka is untyped
    """The records of a fetch of one partition.

    - They are as the decoder makes them: aiokafka copies each into a ConsumerRecord, which costs more than decoding.
    - The name of a header that is no UTF-8, which aiokafka refuses with all of its batch, is escaped.
    - What cannot be read at all is an end like any other: an error would take the records of other partitions with it,
      that were taken in the same call and whose positions have moved on.
    """

    _records: Any

    def __init__(self, on_unreadable: OnUnreadable, told: set[bytes], *args: Any, **kwargs: Any) -> None:
        self._on_unreadable = on_unreadable
        self._told = told
        super().__init__(*args, **kwargs)

    def _consumer_record(self, _tp: Any, record: Any) -> Any:
        return record

    def _unpack_records(self) -> Iterator[Any]:
        try:
            try:
                yield from super()._unpack_records()
            except UnicodeDecodeError as error:
                self._tell(error.object)
                # What was handed out of the batch is left out by its offset.
                self._records = self._records.last_again()
                yield from super()._unpack_records()
        except Exception as error:
            self._on_unreadable(self._tp, self.next_fetch_offset, error)

    def _tell(self, name: bytes) -> None:
        if name not in self._told and len(self._told) < _TOLD:
            self._told.add(name)
            logger.warning(
                "%s-%d holds a record whose header has a name that is no UTF-8, %r: it is escaped, now and later",
                *self._tp, name,
            )  # fmt: skip


class Lenient(_MemoryRecordsPy):  # type: ignore[misc] # it is final for mypy alone
    """Batches whose header names need not be UTF-8. Many times slower than aiokafka's own."""

    def next_batch(self, *args: Any) -> Any:
        """The next batch; None after the last."""
        piece = self._next_slice
        batch = super().next_batch(*args)
        # Records of older formats have no headers.
        return LenientBatch(piece) if batch is not None and batch.magic >= 2 else batch


class LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc] # it is final for mypy alone
    """A batch whose header names need not be UTF-8."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Buffer(self._buffer)

    def _read_msg(self, *_: Any) -> Any:
        # The compiled one takes no subclass of bytearray.
        return super()._read_msg(decode_varint_py)


class _Buffer(bytearray):
    """Bytes that decode to text, whatever they are."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Buffer(part) if isinstance(index, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """As text; what is none as \\xNN, whatever `errors` says."""
        return super().decode(encoding, "backslashreplace")
