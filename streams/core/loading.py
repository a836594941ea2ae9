"""Puts together what the unfinished part of a retry partition says of its parked jobs, on assignment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple

from streams.core.entry import Entry, R
from streams.core.fence import Fence
from streams.core.log_id import UNKNOWN, differ


class Written(NamedTuple):
    """What a record of a retry log says of its writing."""

    #: Of the group, in which its writer got the partition; None if it is not known.
    generation: int | None = None
    #: The queue's log, in which the job has its position.
    log: str = UNKNOWN


#: For writers of whom nothing is known.
_UNSIGNED = Written()


class Loading(Generic[R]):
    """The jobs that were found in a retry log so far, one entry each.

    log  the queue's log; a job whose record names another one stands for no job of it

    Invariant: of two records that stand for one job, the one with the higher (attempt, offset) is kept.
    """

    __slots__ = ("_entries", "_fences", "_gone", "_log", "end")

    def __init__(self, end: int, fences: Sequence[Fence] = (), log: str = UNKNOWN) -> None:
        #: Where the log ended at assignment.
        self.end = end
        self._fences = fences
        self._log = log
        self._entries: dict[tuple[int, bytes | None], Entry[R]] = {}
        #: Those of other logs of the queue, by the log: in the order in which the first of each was found.
        self._gone: dict[str, dict[tuple[int, bytes | None], Entry[R]]] = {}

    def add(self, key: bytes | None, entry: Entry[R], written: Written = _UNSIGNED) -> int | None:
        """Take an entry in; the offset of the record that is thereby superseded, if one is. One that was written too
        late is itself."""
        if not all(fence.passes(entry.offset, written.generation) for fence in self._fences):
            return entry.offset
        entry.log = written.log
        entries = self._entries
        if entry.position >= 0 and differ(written.log, self._log):
            entries = self._gone.setdefault(written.log, {})
        name = entry.position, key
        other = entries.setdefault(name, entry)
        if other is entry:
            return None
        if (other.attempt, other.offset) > (entry.attempt, entry.offset):
            return entry.offset
        entries[name] = entry
        return other.offset

    @property
    def seen(self) -> int:
        """Behind the last offset of the queue's log that it must have had, since jobs of it were parked."""
        return max((entry.position + 1 for entry in self._entries.values() if self._is_ours(entry)), default=0)

    def settle(self, queue_end: int, *, anew: bool = False) -> tuple[list[Entry[R]], list[Entry[R]]]:
        """All entries in the order of their positions, the oldest log's first; and those to be written anew.

        queue_end  where the queue's log ends
        anew       whether it is known to be another one than before

        A job whose record names another log is moved below 0, in its order, lest it be taken for one of this log. Its
        record stays as it is, and so do later ones: they name that log, so that of several one counts whoever reads
        them. So is one moved whose record names no log that is known, if that may be another one, and one at a position
        that this log does not reach, which has lost it: they are to be written anew, since it may get there.
        """
        entries = sorted(self._entries.values(), key=_position)
        gone = [sorted(entries.values(), key=_position) for entries in self._gone.values()]
        lost = [each for each in entries if each.position >= (0 if anew and not self._is_ours(each) else queue_end)]
        lowest = min(0, entries[0].position) if entries else 0
        # The newest log comes last, and so is moved first.
        for log in reversed([log for log in (*gone, lost) if log]):
            _move_below(log, lowest)
            lowest = log[0].position
        for entry in lost:
            entry.log = UNKNOWN
        entries += [entry for log in gone for entry in log]
        entries.sort(key=_position)
        return entries, lost

    def _is_ours(self, entry: Entry[R]) -> bool:
        """Whether an entry is known to be of the queue's log."""
        return entry.log == self._log != UNKNOWN


def _position(entry: Entry[R]) -> int:
    return entry.position


def _move_below(entries: Iterable[Entry[R]], lowest: int) -> None:
    ascending = list(entries)
    shift = ascending[-1].position + 1 - lowest
    for entry in ascending:
        entry.position -= shift
