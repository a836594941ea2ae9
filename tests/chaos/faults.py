"""The queues of tests.jobs.chaotic in a worker that lacks one mechanism: the one that TEST_FAULT names.

Each fault does away with what protects from something, and leaves the rest of the worker as it is. A ledger that does
not show the damage would prove nothing when it shows none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable

from streams.core.offsets import finished_map
from streams.core.offsets.tracker import OffsetTracker
from streams.core.partition.parked import ParkedLanes
from streams.core.partition.parked_job import NOT_WRITTEN, ParkedJob
from streams.core.partition.partition import QueuePartition
from streams.ports.records import Record, WorkLane, WorkPartition
from streams.worker.admission.lease import GroupLease
from streams.worker.executor import QueueExecutor
from streams.worker.outcomes.retry_writer import RetryWriter
from streams.worker.runner import CancelReason, Runner
from tests.jobs.chaotic import in_order, loose, processes, threads

__all__ = ["in_order", "loose", "processes", "threads"]


def no_parking() -> None:
    """A failing job comes back, but its key is not held back until then."""
    make = QueuePartition.__init__

    def without(self: WorkPartition, *arguments: object, **options: object) -> None:
        make(self, *arguments, **options)  # type: ignore[arg-type]
        self._parked_lanes = ParkedLanes(self, ordered=False)
        self._parked_by_key = self._parked_lanes.lanes

    QueuePartition.__init__ = without  # type: ignore[method-assign, assignment]


def no_loading() -> None:
    """A partition starts without having read what its retry log holds."""
    open_retries = QueuePartition.open_retries

    def without(self: WorkPartition, retries: OffsetTracker, end: int, generation: int = 0) -> None:
        del end
        open_retries(self, retries, retries.next_offset, generation)

    QueuePartition.open_retries = without  # type: ignore[method-assign, assignment]


def no_finish_rule() -> None:
    """A job that goes to the retry topic is finished at once, and not when the broker has it there."""
    write, finish = RetryWriter.write, OffsetTracker.finish

    def early(self: RetryWriter, partition: WorkPartition, entries: Iterable[ParkedJob[Record]]) -> None:
        entries = list(entries)
        write(self, partition, entries)
        for entry in entries:
            if entry.retry_offset == NOT_WRITTEN:
                partition.offsets.finish(entry.queue_offset)

    def once(self: OffsetTracker, offset: int) -> None:
        if not self.is_finished(offset):
            finish(self, offset)

    RetryWriter.write, OffsetTracker.finish = early, once  # type: ignore[method-assign]


def no_note() -> None:
    """What has failed and is held is not written before its partition may go to another worker."""

    def nothing(self: WorkPartition, taken_back: Collection[WorkLane]) -> list[ParkedJob[Record]]:
        del self, taken_back
        return []

    QueuePartition.stop_holding = nothing  # type: ignore[method-assign, assignment]


def no_fencing() -> None:
    """A worker goes on with partitions that it has lost, heeds no lease, and cuts no run short.

    One that has stood still would give up, for its timeout, what it is to go on with.
    """

    def nothing(self: object) -> None:
        """Whatever was lost goes on."""

    def for_ever(self: GroupLease, sent: float) -> None:
        """Leave the lease without a bound."""

    def uncut(self: Runner, cut: CancelReason) -> None:
        """Let it run."""

    Runner.cancel = uncut  # type: ignore[method-assign]
    QueuePartition.lose = nothing  # type: ignore[method-assign]
    QueueExecutor.forget_lost = nothing  # type: ignore[method-assign]
    GroupLease.renew = for_ever  # type: ignore[method-assign]


def no_map() -> None:
    """Commits carry the watermark alone."""

    def empty(runs: Iterable[int]) -> str:
        del runs
        return ""

    finished_map.encode = empty


FAULTS: dict[str, Callable[[], None]] = {
    "parking": no_parking,
    "loading": no_loading,
    "finish rule": no_finish_rule,
    "note of failures": no_note,
    "fencing": no_fencing,
    "map": no_map,
}

if fault := os.environ.get("TEST_FAULT"):
    FAULTS[fault]()
