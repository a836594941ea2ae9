"""Puts together what the unfinished part of a retry partition says of its parked jobs, on assignment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple

from streams.core.offsets.fence import Fence
from streams.core.offsets.log_id import UNKNOWN, differ
from streams.core.partition.parked_job import ParkedJob, R


class Written(NamedTuple):
    """What a record of a retry log says of its writing."""

    #: Of the group, in which its writer got the partition; None if it is not known.
    generation: int | None = None
    #: The queue's log, in which the job has its queue offset.
    log: str = UNKNOWN


#: For writers of whom nothing is known.
_UNSIGNED = Written()


class ParkedJobsRestore(Generic[R]):
    """The parked jobs that were found in a retry log so far: put together by a QueuePartition when it is assigned.

    log  the queue's log; a job whose record names another one stands for no job of it

    Invariant: of two records that stand for one job, the one with the higher (attempt, offset) is kept.
    """

    __slots__ = ("_earlier", "_entries", "_fences", "_log", "end")

    def __init__(self, end: int, fences: Sequence[Fence] = (), log: str = UNKNOWN) -> None:
        #: Where the log ended at assignment.
        self.end = end
        self._fences = fences
        self._log = log
        self._entries: dict[tuple[int, bytes | None], ParkedJob[R]] = {}
        #: Those of earlier logs of the queue, by the log: in the order in which the first of each was found.
        self._earlier: dict[str, dict[tuple[int, bytes | None], ParkedJob[R]]] = {}

    def add(self, key: bytes | None, entry: ParkedJob[R], written: Written = _UNSIGNED) -> int | None:
        """Take a job in, or leave it out where another record says more of it, or it was written too late.

        Returns the retry offset of the record that thereby counts for nothing, the job's own if it was left out; None
        where there is none.
        """
        if not all(fence.passes(entry.retry_offset, written.generation) for fence in self._fences):
            return entry.retry_offset
        entry.log = written.log
        entries = self._entries
        if entry.queue_offset >= 0 and differ(written.log, self._log):
            entries = self._earlier.setdefault(written.log, {})
        name = entry.queue_offset, key
        other = entries.setdefault(name, entry)
        if other is entry:
            return None
        if (other.attempt, other.retry_offset) > (entry.attempt, entry.retry_offset):
            return entry.retry_offset
        entries[name] = entry
        return other.retry_offset

    @property
    def queue_seen(self) -> int:
        """One past the last offset that the queue's log must have had, since jobs of it were parked."""
        return max((entry.queue_offset + 1 for entry in self._entries.values() if self._is_ours(entry)), default=0)

    def in_order(self, queue_end: int, *, anew: bool = False) -> tuple[list[ParkedJob[R]], list[ParkedJob[R]]]:
        """Put the jobs in order: all by their queue offsets, the oldest log's first. Returns them, and those among them
        that are to be written again.

        queue_end  where the queue's log ends
        anew       whether it is known to be another one than before: its topic was deleted and created again

        A job whose record names another log is moved below 0, in its order, lest it be taken for one of this log. Its
        record stays as it is, and so do later ones: they name that log, so that of several one counts whoever reads
        them. So is one moved whose record names no log that is known, if that may be another one, and one at an offset
        that this log does not reach, which has lost it: they are to be written again, since it may get there.
        """
        entries = sorted(self._entries.values(), key=_queue_offset)
        earlier = [sorted(entries.values(), key=_queue_offset) for entries in self._earlier.values()]
        lost = [each for each in entries if each.queue_offset >= (0 if anew and not self._is_ours(each) else queue_end)]
        lowest = min(0, entries[0].queue_offset) if entries else 0
        # The newest log comes last, and so is moved first.
        for log in reversed([log for log in (*earlier, lost) if log]):
            _move_below(log, lowest)
            lowest = log[0].queue_offset
        for entry in lost:
            entry.log = UNKNOWN
        entries += [entry for log in earlier for entry in log]
        entries.sort(key=_queue_offset)
        return entries, lost

    def _is_ours(self, entry: ParkedJob[R]) -> bool:
        """Whether an entry is known to be of the queue's present log."""
        return entry.log == self._log != UNKNOWN


def _queue_offset(entry: ParkedJob[R]) -> int:
    return entry.queue_offset


def _move_below(entries: Iterable[ParkedJob[R]], lowest: int) -> None:
    ascending = list(entries)
    shift = ascending[-1].queue_offset + 1 - lowest
    for entry in ascending:
        entry.queue_offset -= shift
