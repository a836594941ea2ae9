"""What one partition has read and what it has finished: the watermark, and the map of what is finished beyond it.

Terms (see confluentinc/parallel-consumer's PartitionState for the ancestry of the idea):

    next offset  the next offset to read
    pending      read, not yet finished
    watermark    the lowest unfinished offset: everything below it is finished, and it is what gets committed
    end          one past the highest offset that is known, read now or finished in an earlier assignment
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streams.core.offsets import finished_map
from streams.core.offsets.commit_metadata import CommitMetadata
from streams.core.offsets.crash_record import CrashRecord
from streams.core.offsets.fence import Fence


@dataclass(frozen=True, slots=True)
class Commit:
    """What to commit for a partition, and how much of it was finished when it was taken."""

    watermark: int
    metadata: str
    finished: int
    #: What the metadata says at the least, in a hundred bytes.
    short: str = ""


class LogReplaced(Exception):
    """A log is another one than it was: its topic was deleted, and created again under the same name."""


class OffsetTracker:
    """The offsets of one assignment of one partition.

    Invariants, each held by a property test: the watermark never goes back (but for what `wrote` says), never passes an
    unfinished offset, and a tracker restored from any commit skips exactly what was finished in it.
    """

    __slots__ = (
        "_acknowledged",
        "_end",
        "_finished",
        "_high",
        "_passed",
        "_pending",
        "_unread",
        "crash_record",
        "fence",
        "log",
        "map_headroom",
        "next_offset",
    )  # fmt: skip

    def __init__(self, next_offset: int, metadata: str = "") -> None:
        #: The next offset to read.
        self.next_offset = next_offset
        #: Unfinished offsets in ascending order: a dict, since it keeps insertion order and deletes in O(1).
        self._pending: dict[int, None] = {}
        self._end = next_offset
        self._high = next_offset - 1
        self._finished = 0
        self._acknowledged = 0
        #: How many more offsets may be read before the map might no longer fit into a commit.
        self.map_headroom = 0
        #: Restored offsets that are unfinished and have not been read yet: they are no load before they are.
        self._unread = 0
        #: Offsets that records of our own have passed over, from and to; their answers may still come.
        self._passed: list[tuple[int, int]] = []
        committed = CommitMetadata.read(metadata, next_offset)
        self._restore(committed.finished_map)
        #: The id of the log; UNKNOWN if it has none.
        self.log = committed.log
        #: Which records count, where the log is a retry log.
        self.fence = committed.fence
        #: Who has claimed it, and which jobs may have killed their worker.
        self.crash_record = CrashRecord(unreleased=committed.unreleased, named=committed.named)
        self.commit()

    def _restore(self, encoded_map: str) -> None:
        finished = False
        for length in finished_map.decode(encoded_map):
            if not finished:
                self._pending.update(dict.fromkeys(range(self._end, self._end + length)))
                self._unread += length
            self._end += length
            if finished:
                self._high = self._end - 1
            finished = not finished

    @property
    def pending(self) -> int:
        """How many offsets are unfinished."""
        return len(self._pending)

    @property
    def load(self) -> int:
        """How many jobs are in memory: read and unfinished."""
        return len(self._pending) - self._unread

    @property
    def map_full(self) -> bool:
        """Whether reading on could make the map too large. What is restored is in it already."""
        return self.map_headroom <= 0 and not self._unread

    @property
    def watermark(self) -> int:
        """The lowest unfinished offset; `end` when nothing is pending."""
        return next(iter(self._pending), self._end)

    @property
    def dirty(self) -> bool:
        """Whether something has finished that no acknowledged commit covers."""
        return self._finished != self._acknowledged

    def identify(self, log: str) -> None:
        """Know from now on which log the offsets are of; UNKNOWN says nothing against an id that is known."""
        self.log = log or self.log

    def raise_fence(self, fence: Fence) -> None:
        """Have only those records of a retry log count from now on that a fence lets through; commits have it, too."""
        self.fence = fence

    def read(self, offset: int) -> bool:
        """Note that an offset was read. Returns False if it is finished already and must not run again."""
        if offset != self.next_offset:
            if offset < self.next_offset:
                return False
            self._skip(offset)
        self.next_offset = offset + 1
        if offset < self._end:
            unfinished = offset in self._pending
            self._unread -= unfinished
            return unfinished
        self._pending[offset] = None
        self._end = offset + 1
        self.map_headroom -= 1
        return True

    def read_all(self, offsets: list[int]) -> bool:
        """Note that ascending offsets were read, if all of them are new and none is missing.

        Returns False, and notes nothing, where that is not so: `read` them one by one then.
        """
        first, end = offsets[0], offsets[-1] + 1
        if first != self.next_offset or first < self._end or end - first != len(offsets):
            return False
        self._pending.update(dict.fromkeys(offsets))
        self.next_offset = self._end = end
        self.map_headroom -= len(offsets)
        return True

    def _skip(self, offset: int) -> None:
        """Pass over offsets that the log does not hold: markers of transactions, and what was compacted or expired.

        They count as finished; restored ones among them are, so that they never hold us up.
        """
        self.map_headroom -= min(max(0, offset - max(self.next_offset, self._end)), _GAP_COST)
        if self._unread:
            for missing in [known for known in self._pending if self.next_offset <= known < offset]:
                del self._pending[missing]
                self._unread -= 1
                self._finished += 1

    def skip_to(self, offset: int) -> None:
        """Go on reading at an offset, since the log no longer holds what lies before it."""
        if offset > self.next_offset:
            self._skip(offset)
            self.next_offset = offset
            self._end = max(self._end, offset)

    def pass_over(self, start: int, to: int) -> bool:
        """Note that the log has no job from `start` up to `to`.

        Returns False, and notes nothing, where `start` is not the next offset.
        """
        if start != self.next_offset or to <= start:
            return False
        self.skip_to(to)
        self._finished += 1
        return True

    def wrote(self, offset: int) -> None:
        """Note an unfinished record of our own, where nobody else writes to the log; what it passes over is finished.

        Answers of the broker may come in another order than the offsets: one that was passed over is pending all the
        same, and the watermark goes back to it. That costs O(n) and is rare. Raises LogReplaced, and notes nothing, for
        an offset that another record has or had: a log gives each only once.
        """
        if offset >= self.next_offset:
            if offset > self.next_offset:
                self._passed = [*self._passed[-_MOST_PASSED:], (self.next_offset, offset)]
            if self.read(offset):
                return
        else:
            self._come_late(offset)
        self._pending[offset] = None
        self._pending = dict.fromkeys(sorted(self._pending))
        # A commit may have called it finished: the next one must say otherwise.
        self._finished += 1

    def _come_late(self, offset: int) -> None:
        for start, end in self._passed:
            if start <= offset < end:
                self._passed.remove((start, end))
                self._passed += [piece for piece in ((start, offset), (offset + 1, end)) if piece[0] < piece[1]]
                return
        raise LogReplaced(f"a second record is at offset {offset}")

    def finish(self, offset: int) -> None:
        """Note that the outcome of a pending offset is durable; KeyError if it is not pending."""
        del self._pending[offset]
        self._finished += 1
        self._high = max(self._high, offset)

    def is_finished(self, offset: int) -> bool:
        """Whether an offset at or above the watermark is finished. What is not known yet is not."""
        return offset < self._end and offset not in self._pending

    @property
    def end(self) -> int:
        """One past the highest offset that is known."""
        return self._end

    def mark_changed(self) -> int:
        """Have a commit due, as its crash record has changed. Returns what `acknowledged` is at the least when the
        broker has that commit."""
        self._finished += 1
        return self._finished

    @property
    def acknowledged(self) -> int:
        """How many changes are in commits that the broker has acknowledged."""
        return self._acknowledged

    def commit(self) -> Commit:
        """Returns what may be committed now. Nothing counts as committed until `acknowledge`, so a failed commit loses
        nothing. `map_headroom` is exact again."""
        encoded_map = finished_map.encode(self._runs())
        self.map_headroom = finished_map.spare_offsets(encoded_map) - len(self._pending) - _SLACK
        watermark = self.watermark
        crashes = self.crash_record
        said = CommitMetadata(encoded_map, self.fence, crashes.unreleased, crashes.named(self), self.log)
        return Commit(watermark, said.text(watermark), self._finished, said.short_text())

    def acknowledge(self, commit: Commit) -> None:
        """Note that the broker has acknowledged this commit."""
        self._acknowledged = max(self._acknowledged, commit.finished)

    def _runs(self) -> Iterator[int]:
        """Alternating run lengths from the watermark to the highest finished offset, unfinished first."""
        start = previous = None
        for offset in self._pending:
            if offset > self._high:
                break
            if start is None or previous is None:
                start = offset
            elif offset != previous + 1:
                yield previous + 1 - start
                yield offset - previous - 1
                start = offset
            previous = offset
        if start is not None and previous is not None:
            yield previous + 1 - start
            yield self._high - previous


#: Bytes in hand for the headers of tokens, in offsets.
_SLACK = 256

#: How many gaps that records of our own have left are remembered.
_MOST_PASSED = 100

#: What a gap in the log can add to the map at the most: a run of its own between two literals, in offsets.
_GAP_COST = 48
