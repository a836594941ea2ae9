"""Writes the records of postponed and diverted jobs to their retry topic, in their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

from schemas.headers import RetryState, with_retry
from streams.appending import Appends
from streams.core.entry import Entry
from streams.core.log_id import UNKNOWN
from streams.core.offsets import LogReplaced
from streams.core.outcome import Failed
from streams.outgoing import Outgoing
from streams.work import Record, WorkPartition, place, retry_topic


class Retries:
    """The writes of one queue to its retry topic; each tells its partition when the broker has it."""

    def __init__(self, appends: Appends) -> None:
        self._appends = appends
        #: Called with the partition of a record that the broker holds.
        self.on_written: Callable[[WorkPartition], None] = lambda partition: None
        #: Called with the partition of a record that shows that the retry log is another one by now.
        self.on_replaced: Callable[[WorkPartition], None] = lambda partition: None

    def write(self, partition: WorkPartition, entries: Iterable[Entry[Record]], failed: Failed | None) -> None:
        """Write entries of one partition, in this order.

        failed  why the first of them comes back; None for a job that asked for it, or was never tried
        """
        for entry in entries:
            record = _outgoing(partition, entry, failed)
            self._appends.begin(record, partition, partial(self._written, partition, entry), placed=True)
            failed = None

    def _written(self, partition: WorkPartition, entry: Entry[Record], offset: int) -> None:
        try:
            partition.wrote(entry, offset)
        except LogReplaced:
            self.on_replaced(partition)
        else:
            self.on_written(partition)


def _outgoing(partition: WorkPartition, entry: Entry[Record], failed: Failed | None) -> Outgoing:
    record = entry.record
    now_ms = int(time.time() * 1000)
    if failed is not None and not entry.failed_ms:
        entry.failed_ms = now_ms
    headers = with_retry(
        record.headers,
        origin=place(partition, record, entry.position),
        state=_state(partition, entry),
        failure=None if failed is None else (failed.error_type, failed.message),
        now_ms=now_ms,
        first_failed_ms=entry.failed_ms,
    )
    # The time of publication goes with the job: a deadline counts from there. A record without one has the first time
    # that it comes back, since a deadline has to begin.
    if record.timestamp <= 0 and not entry.since_ms:
        entry.since_ms = now_ms
    published = min(record.timestamp, now_ms) if record.timestamp > 0 else entry.since_ms
    return Outgoing(retry_topic(partition.topic), record.key, record.value, headers, partition.number, published)


def _state(partition: WorkPartition, entry: Entry[Record]) -> RetryState:
    if entry.position >= 0:
        position, log = entry.position, partition.offsets.log
    elif entry.log:
        # Of a log that is gone: all records of a job name the same place, lest two of them be taken for two jobs.
        position, log = entry.stated, entry.log
    else:
        position, log = entry.position, UNKNOWN
    return RetryState(position, entry.attempt, entry.due_ms, max(0, partition.generation), log)
