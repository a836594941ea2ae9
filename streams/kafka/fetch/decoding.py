"""From the bytes of a fetch to records: within bounds, whatever they claim, and no record ends the worker.

It knows the inside of aiokafka's fetcher, which decodes in the thread that sends the heartbeats: what is done here in
one go must be little. So batches unpack within a bound (see `unpacking`), headers are counted before they are made (see
`raw_records`), and a fetch hands out no more once it has unpacked a good deal.

- Records are as the decoder makes them: aiokafka copies each into a ConsumerRecord, which costs more than decoding.
- What can be read in part only, or not at all, although its checksum is right, is as its producer wrote it: each of its
  records comes out all the same, and is marked as refused. It would stop its partition for good.
- A checksum that is wrong is the end of a fetch like any other: an error would take the records of other partitions
  with it, that were taken in the same call and whose positions have moved on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import partial
from struct import unpack_from
from time import monotonic
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from schemas.limits import Limits
from streams.kafka.fetch.batch_reader import Batch2, OldBatch, OpenBatch
from streams.kafka.fetch.raw_records import BATCH_HEAD
from streams.kafka.fetch.unpacking import Unpacker

logger = logging.getLogger(__name__)

#: Called with a partition that cannot be read, the offset from which it cannot, and what went wrong.
OnUnreadable = Callable[[Any, int, Exception], None]

#: Distinct header names of which the log tells that they are escaped; a producer may send one with every job.
_MOST_LOGGED_NAMES = 100

#: Unpacked bytes after which a fetch hands out what it has: to unpack more takes long enough for others to wait.
_UNPACKED_PER_FETCH = 8 * 1024 * 1024

#: Records of one partition that are handed out at once, at the least and at the most. It bounds how far a partition
#: overshoots its limits, and how long others wait behind one with a backlog.
_FEWEST_PER_TAKE, _MOST_PER_TAKE = 500, 4_000

#: How long a fetch goes on to read records of one partition that take longer than others: a few to a batch, or each for
#: itself. Seconds.
_WHILE = 0.002

#: How long those of other partitions wait for a partition whose last records are being taken in, and which is asked for
#: again right after: a fetch without it would keep it waiting for longer. Seconds.
_SOON = 0.005

#: Where a batch says how long the rest of it is, what came before that, and where it says of what format it is.
_LENGTH_AT, _PREFIX, _FORMAT_AT = 8, 12, 16
#: The shortest batch of any format. Bytes.
_SHORTEST = 26


@dataclass(slots=True)
class Demand:
    """What the fetch under way asks for, and how much it hands out."""

    #: Of which partitions.
    partitions: Container[Any] = ()
    #: Bytes that may still be unpacked of all of them.
    left: int = _UNPACKED_PER_FETCH
    #: Records of one partition that are handed out at once, in every fetch.
    at_once: int = _FEWEST_PER_TAKE
    #: Called when records of a partition have come, before they can be taken.
    on_arrival: Callable[[], None] = lambda: None

    def renew(self, partitions: Container[Any]) -> None:
        """Ask for records of these partitions, which may change meanwhile; as much again may be unpacked."""
        self.partitions = partitions
        self.left = _UNPACKED_PER_FETCH

    def take(self, unpacked: int) -> None:
        """Note that so many bytes were unpacked."""
        self.left -= unpacked


@dataclass(frozen=True, slots=True)
class Reading:
    """What the records of all partitions are read with."""

    limits: Limits
    unpacker: Unpacker
    demand: Demand
    on_unreadable: OnUnreadable
    #: Header names that are escaped, and that this was logged of.
    logged_names: set[bytes]

    def log_name(self, tp: Any, name: bytes) -> None:
        """Log once of a header name that it is escaped."""
        if name not in self.logged_names and len(self.logged_names) < _MOST_LOGGED_NAMES:
            self.logged_names.add(name)
            logger.warning(
                "%s-%d holds a record whose header has a name that is no UTF-8, %r: it is escaped, now and later",
                *tp, name,
            )  # fmt: skip


def records_at_once(concurrency: int, buffer_jobs: int) -> int:
    """Returns how many records of one partition are handed out at once, where so many jobs of a queue run at once.

    A busy worker comes late for more, so it gets two rounds of what runs; and not much of all that it may hold.
    """
    most = max(_FEWEST_PER_TAKE, min(_MOST_PER_TAKE, buffer_jobs // 4))
    return min(max(2 * concurrency, _FEWEST_PER_TAKE), most)


def install(
    on_unreadable: OnUnreadable, limits: Limits, at_once: int, on_arrival: Callable[[], None] = lambda: None
) -> Demand:
    """Have aiokafka's fetchers decode by this module from now on.

    at_once     records of one partition that are handed out at once
    on_arrival  called when records of a partition have come, before they can be taken

    Returns the demand, which the consumer's thread renews before each fetch.
    """
    demand = Demand(at_once=at_once, on_arrival=on_arrival)
    reading = Reading(limits, Unpacker(limits.batch_bytes), demand, on_unreadable, set())

    def records(*args: Any, **kwargs: Any) -> FetchedRecords:
        return FetchedRecords(reading, *args, **kwargs)

    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = records
    fetcher.FetchResult = Fetched
    return reading.demand


class Batches(MemoryRecords):  # type: ignore[misc] # it is final for mypy alone
    """The batches of a fetch of one partition, as aiokafka splits them, with the bytes that they were made of."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.raw = raw


class Fetched(fetcher.FetchResult):  # type: ignore[misc] # aiokafka is untyped
    """The result of a fetch of one partition, which aiokafka's fetcher takes in pieces."""

    _partition_records: FetchedRecords | None

    def __init__(self, tp: Any, *, partition_records: FetchedRecords, **kwargs: Any) -> None:
        super().__init__(tp, partition_records=partition_records, **kwargs)
        partition_records.announce()

    def calculate_backoff(self) -> float:
        """For how many seconds no other partition of its broker is fetched, as these records are about to be taken.

        That way one fetch asks for all. It is next to none for a partition with a backlog, whose records are not asked
        for soon, or not all: aiokafka would wait a tenth of a second, time and again, and with it all other queues.
        """
        fetched = self._partition_records
        if fetched is None or fetched.begun:
            return 0.0
        backoff: float = super().calculate_backoff()
        return backoff if fetched.wanted else max(0.0, backoff - self._backoff + _SOON)

    def getall(self, max_records: int | None = None) -> list[Any]:
        """Take the next records, in their order. Returns none where this fetch has unpacked enough for now.

        However many are wanted of all partitions together, one with a backlog leaves room for those of others.
        """
        fetched = self._partition_records
        if fetched is None or not self.check_assignment(self._topic_partition):
            return []
        records = fetched.take_some(max_records)
        self._update_position()
        if fetched.exhausted:
            self._partition_records = None
        return records


class FetchedRecords(fetcher.PartitionRecords):  # type: ignore[misc] # aiokafka is untyped
    """The records of a fetch of one partition."""

    _records: Batches

    def __init__(self, reading: Reading, *args: Any, **kwargs: Any) -> None:
        self._reading = reading
        self._at = 0
        self._batch: OpenBatch | None = None
        #: Whether some of its records were taken.
        self.begun = False
        self.exhausted = False
        super().__init__(*args, **kwargs)

    def _unpack_records(self) -> Iterator[Any]:
        # aiokafka keeps what this returns, for ways of reading that nobody uses here. A generator would refer to this
        # object, and both, with all that was fetched, would wait for the garbage collector.
        return iter(())

    def announce(self) -> None:
        """Say that they have come."""
        self._reading.demand.on_arrival()

    @property
    def wanted(self) -> bool:
        """Whether its partition is asked for just now."""
        return self._tp in self._reading.demand.partitions

    def take_some(self, most: int | None) -> list[Any]:
        """Take as many of the next records as are handed out at once, or fewer, and return them."""
        at_once = self._reading.demand.at_once
        return self.take(at_once if most is None else min(most, at_once))

    def take(self, most: int) -> list[Any]:
        """Take up to so many of the next records, or as many as can be had in a while, and return them.

        It is exhausted once there are no more, or they cannot be read.
        """
        self.begun = True
        taken: list[Any] = []
        until = monotonic() + _WHILE
        try:
            while len(taken) < most and (batch := self._open_next()) is not None:
                taken += self._read(batch, most - len(taken), until)
                if taken and monotonic() >= until:
                    break
        except Exception as error:
            self.exhausted = True
            self._reading.on_unreadable(self._tp, self.next_fetch_offset, error)
        return taken

    def _read(self, batch: OpenBatch, most: int, until: float) -> list[Any]:
        """Take the next records of the batch that is open, and return them."""
        records = batch.take(most, until)
        if records:
            self.next_fetch_offset = records[-1].offset + 1
        if batch.ended:
            # Compaction may have removed its last record.
            self.next_fetch_offset = batch.end
            self._batch = None
        return records

    def _open_next(self) -> OpenBatch | None:
        """Open the next batch, unless one is open.

        Returns None at the end of the fetch, and where enough was unpacked for now.
        """
        while self._batch is None and self._reading.demand.left > 0:
            piece = self._next_piece()
            if piece is None:
                self.exhausted = True
                return None
            self._batch = self._open(piece)
        return self._batch

    def _next_piece(self) -> bytes | None:
        """Step over the next batch. Returns its bytes; None after the last that is whole."""
        raw, at = self._records.raw, self._at
        if len(raw) - at < _PREFIX:
            return None
        (length,) = unpack_from(">i", raw, at + _LENGTH_AT)
        if _PREFIX + length < _SHORTEST:
            raise CorruptRecordException(f"a batch of {length} bytes")
        self._at = at + _PREFIX + length
        return raw[at : self._at] if self._at <= len(raw) else None

    def _open(self, raw: bytes) -> OpenBatch | None:
        """Open a batch. Returns None where none of its records is to be seen."""
        magic, start = raw[_FORMAT_AT], self.next_fetch_offset
        if magic >= 2 and len(raw) < BATCH_HEAD:
            raise CorruptRecordException(f"a batch of {len(raw)} bytes")
        batch: Any = DefaultRecordBatch(raw) if magic >= 2 else LegacyRecordBatch(raw, magic)
        if not batch.validate_crc():
            raise CorruptRecordException(f"the checksum (CRC) of the batch at offset {start} is wrong")
        if self._is_hidden(batch) or batch.next_offset <= start:
            self.next_fetch_offset = max(start, batch.next_offset)
            return None
        how = self._reading.limits, self._reading.unpacker
        if magic >= 2:
            opened: OpenBatch = Batch2(batch, raw, start, *how, on_name=partial(self._reading.log_name, self._tp))
        else:
            opened = OldBatch(batch, raw, start, *how)
        self._reading.demand.take(opened.unpacked)
        return opened

    def _is_hidden(self, batch: Any) -> bool:
        """Whether a batch is a transaction's mark, or of one that was aborted."""
        if self._isolation_level == fetcher.READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._contains_abort_marker(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)
