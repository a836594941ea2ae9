"""Parked keys: for each a line of its failing job and those that wait behind it, and a clock's view of all lines.

A key is *parked* while it has a line. The head of a line may run when three things hold:

    it is parked          the broker has acknowledged the record that stands for it
    it is due             its time has come; at once, if it was never tried
    the queue was read    past its position: else an earlier job of the key could still come, or its own record

A line is a lane, so that whoever runs lanes runs lines too. It is in `ready` at most once, as lanes are.
"""

from __future__ import annotations

from bisect import bisect_left
from heapq import heappop, heappush
from typing import Generic, TypeVar

from streams.core.partition.lanes import Lane
from streams.core.partition.parked_job import ParkedJob

R = TypeVar("R")
W = TypeVar("W")

#: Taken entries stay in a line's list until they are at least so many, and an eighth of it.
_SWEEP = 32


class ParkedLane(Lane[R, W]):
    """The lane of a parked key: `entry` runs or runs next, the others wait behind it in the order of their positions.

    Invariant: entries are sorted by position, and no two have the same.
    """

    __slots__ = ("_behind", "_taken", "entry", "number", "waiting")

    def __init__(self, owner: W, key: bytes | None, entry: ParkedJob[R], number: int) -> None:
        super().__init__(owner, key, entry.record)
        self.entry: ParkedJob[R] = entry
        #: What the line is known by where it is not its key's: the position of its only entry.
        self.number = number
        #: Whether the head waits for its time, and nothing else.
        self.waiting = False
        # Most lines hold one job, where keys fail independently.
        self._behind: list[ParkedJob[R]] | None = None
        self._taken = 0

    def __len__(self) -> int:
        """How many entries it has."""
        return 1 if self._behind is None else 1 + len(self._behind) - self._taken

    def contains(self, queue_offset: int) -> bool:
        """Whether it has an entry of this position."""
        if queue_offset == self.entry.queue_offset:
            return True
        behind = self._behind
        if not behind or queue_offset > behind[-1].queue_offset:
            return False
        at = bisect_left(behind, queue_offset, lo=self._taken, key=_queue_offset)
        return at < len(behind) and behind[at].queue_offset == queue_offset

    def insert(self, entry: ParkedJob[R]) -> None:
        """Add an entry at the place of its position."""
        if entry.queue_offset < self.entry.queue_offset:
            entry, self.entry = self.entry, entry
            self.head = self.entry.record
        if self._behind is None:
            self._behind = []
        behind = self._behind
        if len(behind) == self._taken or entry.queue_offset > behind[-1].queue_offset:
            behind.append(entry)
        else:
            behind.insert(bisect_left(behind, entry.queue_offset, lo=self._taken, key=_queue_offset), entry)

    def take(self) -> bool:
        """Drop the head; False if nothing is behind it."""
        behind = self._behind
        if behind is None or self._taken == len(behind):
            return False
        self.entry = behind[self._taken]
        self.head = self.entry.record
        self._taken += 1
        if self._taken >= _SWEEP and self._taken * 8 >= len(behind):
            del behind[: self._taken]
            self._taken = 0
        return True


def _queue_offset(entry: ParkedJob[R]) -> int:
    return entry.queue_offset


class ParkedLanes(Generic[R, W]):
    """All lines of one partition, and when their heads may run."""

    __slots__ = ("_due", "_longest", "_ordered", "_owner", "_unread", "lanes")

    def __init__(self, owner: W, *, ordered: bool) -> None:
        self._owner = owner
        self._ordered = ordered
        #: By key; by position, where every job is a line of its own.
        self.lanes: dict[bytes | int, ParkedLane[R, W]] = {}
        self._longest: ParkedLane[R, W] | None = None
        #: Heads that wait for their time, and those that wait until the queue was read past their position. Both may
        #: hold an item twice, or one whose line has another head by now; these are passed over when their turn comes.
        self._due: list[tuple[int, int, ParkedLane[R, W]]] = []
        self._unread: list[tuple[int, int, ParkedLane[R, W]]] = []

    def find(self, key: bytes | None, queue_offset: int) -> ParkedLane[R, W] | None:
        """The line that a job of this key and position belongs to, if there is one."""
        return self.lanes.get(key if self._ordered and key is not None else queue_offset)

    def park(self, key: bytes | None, entry: ParkedJob[R]) -> ParkedLane[R, W]:
        """Open a line."""
        keyed = self._ordered and key is not None
        line = ParkedLane(self._owner, key if keyed else None, entry, entry.queue_offset)
        self.lanes[_name(line)] = line
        return line

    def insert(self, line: ParkedLane[R, W], entry: ParkedJob[R]) -> None:
        """Add an entry to a line."""
        line.insert(entry)
        if self._longest is None or len(line) > len(self._longest):
            self._longest = line

    @property
    def longest(self) -> int:
        """How many entries the longest line has, or less where it has become shorter than another since."""
        return 0 if self._longest is None else len(self._longest)

    def leave(self, line: ParkedLane[R, W]) -> bool:
        """Take the head off a line whose turn it was; False if that was the last, and the line is gone."""
        if line.take():
            return True
        del self.lanes[_name(line)]
        if line is self._longest:
            self._longest = max(self.lanes.values(), key=len, default=None)
        return False

    def wait(self, line: ParkedLane[R, W], read_to: int) -> None:
        """Have the head of a line wait for its turn, where the queue was read up to `read_to`.

        A head that is writing waits for its acknowledgement first: call this again then.
        """
        entry = line.entry
        if entry.writing:
            return
        if entry.queue_offset >= read_to:
            heappush(self._unread, (entry.queue_offset, entry.retry_offset, line))
        else:
            line.waiting = True
            heappush(self._due, (entry.due_ms, entry.retry_offset, line))

    def read_on(self, read_to: int) -> None:
        """Note how far the queue was read."""
        unread = self._unread
        while unread and unread[0][0] < read_to:
            _, offset, line = heappop(unread)
            if line.entry.retry_offset == offset:
                self.wait(line, read_to)

    @property
    def unread(self) -> bool:
        """Whether a head waits for the queue to be read on."""
        return bool(self._unread)

    @property
    def next_due(self) -> int | None:
        """Epoch milliseconds when the next head may run; None if none waits for its time."""
        due = self._due
        while due and not _current(due[0]):
            heappop(due)
        return due[0][0] if due else None

    def ready(self, now_ms: int) -> list[ParkedLane[R, W]]:
        """Hand out the lines whose heads have become due."""
        ready = []
        due = self._due
        while due and due[0][0] <= now_ms:
            item = heappop(due)
            if _current(item):
                line = item[2]
                line.waiting = False
                ready.append(line)
        return ready


def _current(item: tuple[int, int, ParkedLane[R, W]]) -> bool:
    _, offset, line = item
    return line.waiting and line.entry.retry_offset == offset


def _name(line: ParkedLane[R, W]) -> bytes | int:
    return line.number if line.key is None else line.key
