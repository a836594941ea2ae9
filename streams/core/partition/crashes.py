"""Which jobs of a partition may have killed their worker: the crash records of its two logs, taken together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.core.offsets.crash_record import CrashRecord
from streams.core.offsets.tracker import OffsetTracker
from streams.core.partition.lanes import Lane


class PartitionCrashes:
    """The crash records of a queue's partition and of its retry partition, as part of a QueuePartition.

    An Assignment claims and releases the partition by it; the Quarantine asks it which jobs are suspected.
    """

    __slots__ = ("_queue", "_retries", "has_suspects")

    def __init__(self, queue: OffsetTracker) -> None:
        self._queue = queue
        self._retries: OffsetTracker | None = None
        #: Whether any job may have killed its worker, as of the last `refresh`: a runner asks this for each job.
        self.has_suspects = False

    def add_retries(self, retries: OffsetTracker) -> None:
        """Have the retry partition count as well, from when it is opened."""
        self._retries = retries

    @property
    def records(self) -> list[CrashRecord]:
        """What each of its logs says: that of the queue, and that of the retry partition if it is open."""
        return [log.crash_record for log in self._logs]

    @property
    def _logs(self) -> list[OffsetTracker]:
        return [self._queue] if self._retries is None else [self._queue, self._retries]

    def suspect_below(self, queue_end: int, retry_end: int, unknown: int) -> None:
        """Suspect what the last owner may have been running, if it has not released the partition.

        queue_end, retry_end  where the logs end
        unknown               how many offsets, beyond what is known, the last owner may have read
        """
        for log, end in zip(self._logs, (queue_end, retry_end), strict=False):
            log.crash_record.suspect_below(min(end, log.end + unknown))
        self.refresh()

    def inherit(self, before: Sequence[CrashRecord]) -> None:
        """Take over what was known of its jobs: the last owner was this worker, and did not die."""
        for record, known in zip(self.records, before, strict=True):
            record.inherit(known)
        self.refresh()

    def refresh(self) -> None:
        """Find out whether there are suspects; where none is left in a log, forget its deaths."""
        self.has_suspects = False
        for log in self._logs:
            if not log.crash_record.all_cleared(log.watermark):
                self.has_suspects = True
                return
            log.crash_record.reset()

    def claim(self) -> None:
        """Have the next commit claim the partition for this worker."""
        for log in self._logs:
            if not log.crash_record.claimed:
                log.crash_record.claim()
                log.mark_changed()

    def release(self) -> None:
        """Have the next commits, until the next `claim`, say that the partition is left in order."""
        for log in self._logs:
            log.crash_record.release(log.watermark)
            log.mark_changed()

    def log_of(self, lane: Lane[Any, Any]) -> tuple[OffsetTracker, int]:
        """Returns the log that holds the head of a lane until it is finished, and its offset there."""
        entry = lane.entry
        if entry is None:
            return self._queue, lane.head.offset
        if entry.held:
            return self._queue, entry.queue_offset
        if self._retries is None:
            raise RuntimeError("a job waits in a retry partition that is not open")
        return self._retries, entry.retry_offset
