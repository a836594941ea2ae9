"""Records on their way to their logs: no task is made for one, and no runner waits, as long as nothing goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from streams.aio.wait_list import WaitList
from streams.ports.records import OutgoingRecord, WorkPartition
from streams.ports.writer import Append, RecordWriter

logger = logging.getLogger(__name__)

#: Is called with the offset of a record that its log has; None where that is not known and does not matter.
OnWritten = Callable[[int | None], None]


class PendingWrites:
    """The retry records and dead letters of one queue that are on their way to the broker. Owned by the event loop.

    Made for a queue's JobRuns and RetryWriter, which append to it; a stop waits until it is empty.
    """

    def __init__(self, writer: RecordWriter, queue: str, fail: Callable[[BaseException], None]) -> None:
        """`fail` is called when a write has failed for a reason of ours, which ends the worker."""
        self._writer = writer
        self._queue = queue
        self._fail = fail
        #: By a number of each: its partition, and what cancels it.
        self._on_way: dict[int, tuple[WorkPartition, Append]] = {}
        self._last = 0
        self._quiet = WaitList()

    def append(self, record: OutgoingRecord, partition: WorkPartition, done: OnWritten, *, needs_offset: bool) -> None:
        """Write a record for a partition until the broker has it; then call `done`, unless the partition is lost.

        Those of one topic and partition lie in the log in the order of these calls, as far as the writer promises it.

        needs_offset  whether its offset must be known; it is written twice rather than not
        """
        number = self._last = self._last + 1

        def appended(error: BaseException | None, offset: int | None) -> None:
            del self._on_way[number]
            self._settle(error, offset, done)

        self._on_way[number] = partition, self._writer.append(record, appended, needs_offset=needs_offset)

    def _settle(self, error: BaseException | None, offset: int | None, done: OnWritten) -> None:
        if error is None:
            try:
                done(offset)
            except Exception as fault:
                error = fault
        if error is not None:
            logger.critical("a record of queue %s cannot be written: the worker stops", self._queue, exc_info=error)
            self._fail(error)
        if not self._on_way:
            self._quiet.wake_all()

    def __len__(self) -> int:
        """How many are on their way."""
        return len(self._on_way)

    async def quiet(self) -> None:
        """Wait until nothing is on its way."""
        if self._on_way:
            await self._quiet.wait()

    def forget_lost(self) -> None:
        """Wait no longer for the writes of lost partitions."""
        self._forget([number for number, (partition, _) in self._on_way.items() if partition.lost])

    def stop(self) -> None:
        """Wait no longer for any write; what the broker has not acknowledged is unfinished where it was."""
        self._forget([*self._on_way])

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            _, append = self._on_way.pop(number)
            append.cancel()
        if not self._on_way:
            self._quiet.wake_all()
