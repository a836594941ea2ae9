"""Writes the records of postponed and diverted jobs to their retry topic, in their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

from producers.routing.topics import retry_topic
from schemas.headers import RetryState, with_retry
from streams.core.offsets.log_id import UNKNOWN
from streams.core.offsets.tracker import LogReplaced
from streams.core.partition.parked_job import ParkedJob
from streams.ports.records import OutgoingRecord, Record, WorkPartition, origin
from streams.worker.outcomes.pending_writes import PendingWrites


class RetryWriter:
    """Writes the parked jobs of one queue to its retry topic, and tells partitions when the broker has them."""

    def __init__(
        self,
        writes: PendingWrites,
        written: Callable[[WorkPartition], None],
        replaced: Callable[[WorkPartition], None],
    ) -> None:
        """A writer of retries.

        written   called with the partition of a record that the broker holds
        replaced  called with the partition of a record that shows that the retry log is another one by now
        """
        self._writes = writes
        self._on_written = written
        self._on_replaced = replaced

    def write(self, partition: WorkPartition, entries: Iterable[ParkedJob[Record]]) -> None:
        """Write entries of one partition, in this order."""
        for entry in entries:
            record = _outgoing(partition, entry)
            self._writes.append(record, partition, partial(self._written, partition, entry), needs_offset=True)

    def _written(self, partition: WorkPartition, entry: ParkedJob[Record], offset: int) -> None:
        try:
            partition.wrote(entry, offset)
        except LogReplaced:
            self._on_replaced(partition)
        else:
            self._on_written(partition)


def _outgoing(partition: WorkPartition, entry: ParkedJob[Record]) -> OutgoingRecord:
    record = entry.record
    now_ms = int(time.time() * 1000)
    headers = with_retry(
        record.headers,
        origin=origin(partition, record, entry.queue_offset),
        state=_state(partition, entry),
        failure=entry.take_failure(),
        now_ms=now_ms,
        first_failed_ms=entry.failed_ms,
    )
    # The time of publication goes with the job: a deadline counts from there. A record without one has the first time
    # that it comes back, since a deadline has to begin.
    if record.timestamp <= 0:
        entry.note_return(now_ms)
    published = min(record.timestamp, now_ms) if record.timestamp > 0 else entry.since_ms
    return OutgoingRecord(retry_topic(partition.topic), record.key, record.value, headers, partition.number, published)


def _state(partition: WorkPartition, entry: ParkedJob[Record]) -> RetryState:
    if entry.queue_offset >= 0:
        position, log = entry.queue_offset, partition.offsets.log
    elif entry.log:
        # Of a log that is gone: all records of a job name the same place, lest two of them be taken for two jobs.
        position, log = entry.stated_offset, entry.log
    else:
        position, log = entry.queue_offset, UNKNOWN
    return RetryState(position, entry.attempt, entry.due_ms, max(0, partition.generation), log)
