"""Writes the records of postponed and diverted jobs to their retry topic, in their order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from schemas.headers import RetryState, with_retry
from streams.appending import Append
from streams.core.entry import Entry
from streams.core.outcome import Failed
from streams.outgoing import Outgoing
from streams.sender import Sender
from streams.work import Record, WorkPartition, place, retry_topic


class Retries:
    """The writes of one queue that are on their way; each tells its partition when the broker has it."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._writes: dict[Append, tuple[WorkPartition, Entry[Record]]] = {}
        self._awaiting_quiet: list[asyncio.Future[None]] = []
        #: Called with the partition of a record that the broker holds.
        self.on_written: Callable[[WorkPartition], None] = lambda partition: None
        #: Called when a write has failed for a reason of ours, which ends the worker.
        self.on_failure: Callable[[BaseException], None] = lambda error: None

    def write(self, partition: WorkPartition, entries: Iterable[Entry[Record]], failed: Failed | None) -> None:
        """Write entries of one partition, in this order.

        failed  why the first of them comes back; None for a job that asked for it, or was never tried
        """
        for entry in entries:
            write = Append(self._sender, _outgoing(partition, entry, failed), self._written, self._failed)
            self._writes[write] = partition, entry
            write.start()
            failed = None

    def _written(self, write: Append, offset: int) -> None:
        partition, entry = self._writes.pop(write)
        partition.wrote(entry, offset)
        self.on_written(partition)
        if not self._writes:
            self._tell_quiet()

    def _failed(self, write: Append, error: BaseException) -> None:
        del self._writes[write]
        self.on_failure(error)

    def _tell_quiet(self) -> None:
        waiting, self._awaiting_quiet = self._awaiting_quiet, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def quiet(self) -> None:
        """Wait until nothing is on its way."""
        if self._writes:
            quiet: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._awaiting_quiet.append(quiet)
            await quiet

    def forget_lost(self) -> None:
        """Wait no longer for the writes of lost partitions."""
        self._forget([write for write, (partition, _) in self._writes.items() if partition.lost])

    def stop(self) -> None:
        """Wait no longer for any write; what the broker has not acknowledged is unfinished where it was."""
        self._forget([*self._writes])

    def _forget(self, writes: Iterable[Append]) -> None:
        for write in writes:
            write.cancel()
            del self._writes[write]
        if not self._writes:
            self._tell_quiet()


def _outgoing(partition: WorkPartition, entry: Entry[Record], failed: Failed | None) -> Outgoing:
    record = entry.record
    now_ms = int(time.time() * 1000)
    if failed is not None and not entry.failed_ms:
        entry.failed_ms = now_ms
    headers = with_retry(
        record.headers,
        origin=place(partition, record, entry.position),
        state=RetryState(entry.position, entry.attempt, entry.due_ms, max(0, partition.generation)),
        failure=None if failed is None else (failed.error_type, failed.message),
        now_ms=now_ms,
        first_failed_ms=entry.failed_ms,
    )
    # The time of publication goes with the job: a deadline counts from there.
    published = max(0, min(record.timestamp, now_ms))
    return Outgoing(retry_topic(partition.topic), record.key, record.value, headers, partition.number, published)
