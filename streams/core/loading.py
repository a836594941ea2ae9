"""Puts together what the unfinished part of a retry partition says of its parked jobs, on assignment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic

from streams.core.entry import Entry, R
from streams.core.fence import Fence


class Loading(Generic[R]):
    """The jobs that were found in a retry log so far, one entry each.

    Invariant: of two records that stand for one job, the one with the higher (attempt, offset) is kept.
    """

    __slots__ = ("_entries", "_fences", "end")

    def __init__(self, end: int, fences: Sequence[Fence] = ()) -> None:
        #: Where the log ended at assignment.
        self.end = end
        self._fences = fences
        self._entries: dict[tuple[int, bytes | None], Entry[R]] = {}

    def add(self, key: bytes | None, entry: Entry[R], generation: int | None = None) -> int | None:
        """Take an entry in, whose record was written by the owner of a generation; the offset of the record that is
        thereby superseded, if one is. One that was written too late is itself."""
        if not all(fence.passes(entry.offset, generation) for fence in self._fences):
            return entry.offset
        name = entry.position, key
        other = self._entries.setdefault(name, entry)
        if other is entry:
            return None
        if (other.attempt, other.offset) > (entry.attempt, entry.offset):
            return entry.offset
        self._entries[name] = entry
        return other.offset

    def settle(self, queue_end: int) -> tuple[list[Entry[R]], list[Entry[R]]]:
        """All entries in the order of their positions, the oldest log's first; and those whose position has changed.

        A position that the queue's log does not reach is of a log that is gone, since the topic was made anew. It is
        moved below 0, in its order, lest it be taken for that of a job of the new log.
        """
        entries = sorted(self._entries.values(), key=lambda entry: entry.position)
        gone = [entry for entry in entries if entry.position >= queue_end]
        if gone:
            _move_below(gone, min(0, entries[0].position))
            entries.sort(key=lambda entry: entry.position)
        return entries, gone


def _move_below(entries: Iterable[Entry[R]], lowest: int) -> None:
    ascending = list(entries)
    shift = ascending[-1].position + 1 - lowest
    for entry in ascending:
        entry.position -= shift
