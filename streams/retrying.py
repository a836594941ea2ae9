"""Writes the records of postponed and diverted jobs to their retry topic, in their order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from schemas.headers import RetryState, with_retry
from streams.core.entry import Entry
from streams.core.outcome import Failed
from streams.outgoing import Outgoing
from streams.sender import Sender
from streams.work import Record, WorkPartition, place, retry_topic


class Retries:
    """The writes of one queue that are on their way; each tells its partition when the broker has it."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._writes: dict[asyncio.Task[None], WorkPartition] = {}
        self._awaiting_quiet: list[asyncio.Future[None]] = []
        #: Called with the partition of a record that the broker holds.
        self.on_written: Callable[[WorkPartition], None] = lambda partition: None
        #: Called when a write has failed for a reason of ours, which ends the worker.
        self.on_failure: Callable[[BaseException], None] = lambda error: None

    def write(self, partition: WorkPartition, entries: Iterable[Entry[Record]], failed: Failed | None) -> None:
        """Write entries of one partition, in this order.

        failed  why the first of them comes back; None for a job that asked for it, or was never tried
        """
        failure = None if failed is None else (failed.error_type, failed.message)
        for entry in entries:
            # A task begins where its first await is, so that records reach the producer in the order of their tasks.
            task = asyncio.ensure_future(self._write(partition, entry, _outgoing(partition, entry, failure)))
            self._writes[task] = partition
            task.add_done_callback(self._ended)
            failure = None

    async def _write(self, partition: WorkPartition, entry: Entry[Record], record: Outgoing) -> None:
        offset = await self._sender.append(record)
        partition.wrote(entry, offset)
        self.on_written(partition)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._writes[task]
        if not self._writes:
            waiting, self._awaiting_quiet = self._awaiting_quiet, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_failure(error)

    async def quiet(self) -> None:
        """Wait until nothing is on its way."""
        if self._writes:
            quiet: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._awaiting_quiet.append(quiet)
            await quiet

    def forget_lost(self) -> None:
        """Wait no longer for the writes of lost partitions."""
        for task, partition in self._writes.items():
            if partition.lost:
                task.cancel()

    async def stop(self) -> None:
        """Wait no longer for any write; what the broker has not acknowledged is unfinished where it was."""
        tasks = list(self._writes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _outgoing(partition: WorkPartition, entry: Entry[Record], failure: tuple[str, str] | None) -> Outgoing:
    record = entry.record
    now_ms = int(time.time() * 1000)
    headers = with_retry(
        record.headers,
        origin=place(partition, record, entry.position),
        state=RetryState(entry.position, entry.attempt, entry.due_ms, max(0, partition.generation)),
        failure=failure,
        now_ms=now_ms,
    )
    # The time of publication goes with the job: a deadline counts from there.
    published = max(0, min(record.timestamp, now_ms))
    return Outgoing(retry_topic(partition.topic), record.key, record.value, headers, partition.number, published)
