"""Records on their way to their logs: no task is made for one, and no runner waits, as long as nothing goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException

from streams.aio.wait_list import WaitList
from streams.kafka.producer.sender import ReliableSender
from streams.ports.records import OutgoingRecord, WorkPartition

#: Is called with the offset of a record that the broker has; None where that is not known and does not matter.
OnWritten = Callable[[int | None], None]


class PendingWrites:
    """The retry records and dead letters of one queue that are on their way to the broker. Owned by the event loop.

    The Executor and its RetryWriter append to it, and a stop waits until it is empty.
    """

    def __init__(self, sender: ReliableSender) -> None:
        self._sender = sender
        self._on_way: dict[PendingWrite, tuple[WorkPartition, OnWritten]] = {}
        self._quiet = WaitList()
        #: Called when a write has failed for a reason of ours, which ends the worker.
        self.on_failure: Callable[[BaseException], None] = lambda error: None

    def append(self, record: OutgoingRecord, partition: WorkPartition, done: OnWritten, *, needs_offset: bool) -> None:
        """Write a record for a partition until the broker has it; then call `done`, unless the partition is lost.

        Those of one topic and partition lie in the log in the order of these calls, as far as the sender promises it.

        placed  whether its offset must be known; it is written twice rather than not
        """
        write = PendingWrite(self._sender, record, self._told, self._failed, needs_offset=needs_offset)
        self._on_way[write] = partition, done
        write.start()

    def _told(self, write: PendingWrite, offset: int | None) -> None:
        _, done = self._on_way.pop(write)
        try:
            done(offset)
        except Exception as error:  # Such as of a retry topic that was made anew while its partition is in use.
            self.on_failure(error)
        if not self._on_way:
            self._quiet.wake_all()

    def _failed(self, write: PendingWrite, error: BaseException) -> None:
        del self._on_way[write]
        self.on_failure(error)

    async def quiet(self) -> None:
        """Wait until nothing is on its way."""
        if self._on_way:
            await self._quiet.wait()

    def forget_lost(self) -> None:
        """Wait no longer for the writes of lost partitions."""
        self._forget([write for write, (partition, _) in self._on_way.items() if partition.lost])

    def stop(self) -> None:
        """Wait no longer for any write; what the broker has not acknowledged is unfinished where it was."""
        self._forget([*self._on_way])

    def _forget(self, writes: Iterable[PendingWrite]) -> None:
        for write in writes:
            write.cancel()
            del self._on_way[write]
        if not self._on_way:
            self._quiet.wake_all()


class PendingWrite:
    """One record, written until the broker has it.

    told    called with this and the offset of the record, unless it was cancelled
    failed  called with this and an error of ours, after which nothing more is tried
    """

    __slots__ = ("_cancelled", "_failed", "_needs_offset", "_record", "_sender", "_task", "_told")

    def __init__(
        self,
        sender: ReliableSender,
        record: OutgoingRecord,
        told: Callable[[PendingWrite, int | None], None],
        failed: Callable[[PendingWrite, BaseException], None],
        *,
        needs_offset: bool,
    ) -> None:
        self._sender = sender
        self._record = record
        self._told = told
        self._failed = failed
        self._needs_offset = needs_offset
        self._task: asyncio.Task[int | None] | None = None
        self._cancelled = False

    def start(self) -> None:
        """Hand the record to the client."""
        try:
            self._sender.start(self._record, self._answered)
        except KafkaException as refused:
            self._send_again(refused)

    def cancel(self) -> None:
        """Wait for it no longer; the broker may get it all the same."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def _answered(self, error: KafkaError | None, offset: int | None) -> None:
        if self._cancelled:
            return
        if error is None and not (self._needs_offset and offset is None):
            self._told(self, offset)
        else:
            self._send_again(None if error is None else KafkaException(error))

    def _send_again(self, refused: KafkaException | None) -> None:
        again = self._sender.send_again(self._record, refused, needs_offset=self._needs_offset)
        self._task = asyncio.ensure_future(again)
        self._task.add_done_callback(self._sent_again)

    def _sent_again(self, task: asyncio.Task[int | None]) -> None:
        if self._cancelled or task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._told(self, task.result())
        else:
            self._failed(self, error)
