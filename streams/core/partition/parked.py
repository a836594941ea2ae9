"""Parked keys: for each a lane of its failing job and those that wait behind it, and a clock's view of all such lanes.

A key is *parked* while it has a parked lane. The head of a parked lane may run when three things hold:

    it is parked or held  the broker has acknowledged the record that stands for it, or none is written
    it is due             its time has come; at once, if it was never tried
    the queue was read    past its queue offset: else an earlier job of the key could still come, or its own record

A parked lane is a lane like any other to whoever runs lanes. It is in `ready` at most once, as lanes are.
"""

from __future__ import annotations

from bisect import bisect_left
from heapq import heappop, heappush
from typing import Generic, TypeVar

from streams.core.partition.lanes import Lane
from streams.core.partition.parked_job import Pack, ParkedJob

R = TypeVar("R")
W = TypeVar("W")

#: Taken entries stay in a parked lane's list until they are at least so many, and an eighth of it.
_SWEEP = 32


class ParkedLane(Lane[R, W]):
    """The lane of a parked key: `entry` runs or runs next, and others wait behind it by their queue offsets.

    Handed out by a QueuePartition once its head may run, and run by the queue's Executor like any lane.

    Invariant: entries are sorted by queue offset, and no two have the same.
    """

    __slots__ = ("_behind", "_stuck_since", "_taken", "entry", "holding", "number", "waiting")

    def __init__(self, owner: W, key: bytes | None, entry: ParkedJob[R], number: int) -> None:
        super().__init__(owner, key, entry.record)
        self.entry: ParkedJob[R] = entry
        #: What the parked lane is known by where it is not its key's: the queue offset of its only entry.
        self.number = number
        #: Whether what comes behind the head stays the queue's for now, and so does a head that fails.
        self.holding = False
        #: Epoch milliseconds since when the same job is its head and fails; 0 if it has not.
        self._stuck_since = 0
        #: Whether the head waits for its time, and nothing else.
        self.waiting = False
        # Most parked lanes hold one job, where keys fail independently.
        self._behind: list[ParkedJob[R]] | None = None
        self._taken = 0

    def __len__(self) -> int:
        """How many entries it has."""
        return 1 if self._behind is None else 1 + len(self._behind) - self._taken

    def contains(self, queue_offset: int) -> bool:
        """Whether it has an entry of this queue offset."""
        if queue_offset == self.entry.queue_offset:
            return True
        behind = self._behind
        if not behind or queue_offset > behind[-1].queue_offset:
            return False
        at = bisect_left(behind, queue_offset, lo=self._taken, key=_queue_offset)
        return at < len(behind) and behind[at].queue_offset == queue_offset

    def insert(self, entry: ParkedJob[R]) -> None:
        """Add an entry in the order of queue offsets."""
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

    def pack(self, entry: ParkedJob[R], how: Pack[R], key: bytes | None) -> None:
        """Keep the record of one of its entries in less memory: see ParkedJob.pack."""
        entry.pack(how, key)
        if entry is self.entry:
            self.head = entry.record

    def hold(self, due_ms: int, now_ms: int, most_ms: int) -> bool:
        """Note that its head has failed and when it is due. Returns whether what comes behind it stays the queue's.

        most_ms  how long it may: else a job that fails again and again would keep the queue's log from moving on
        """
        self._stuck_since = self._stuck_since or now_ms
        self.holding = most_ms > 0 and due_ms - self._stuck_since <= most_ms
        return self.holding

    @property
    def failed_unwritten(self) -> bool:
        """Whether its head has failed, and nothing was written for that yet."""
        return self.entry.held and not self.entry.untried

    def suspend(self) -> ParkedJob[R]:
        """Have its head wait until it is written. Returns it."""
        self.waiting = False
        return self.entry

    def release(self) -> list[ParkedJob[R]]:
        """Have nothing stay the queue's any longer, but for a head that runs. Returns what was, in its order."""
        self.holding = False
        behind = self.held_behind()
        return [self.suspend(), *behind] if self.waiting and self.entry.held else behind

    def held_behind(self) -> list[ParkedJob[R]]:
        """The entries behind its head that are still the queue's, in their order."""
        return [] if self._behind is None else [entry for entry in self._behind[self._taken :] if entry.held]

    def take(self) -> bool:
        """Drop the head. Returns False, and drops nothing, if nothing is behind it."""
        behind = self._behind
        if behind is None or self._taken == len(behind):
            return False
        self._stuck_since = 0
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
    """All parked lanes of one QueuePartition, and when their heads may run: a priority queue by due time."""

    __slots__ = ("_due", "_lengths", "_longest", "_ordered", "_owner", "_unread", "lanes")

    def __init__(self, owner: W, *, ordered: bool) -> None:
        self._owner = owner
        self._ordered = ordered
        #: By key; by queue offset, where every job is a parked lane of its own.
        self.lanes: dict[bytes | int, ParkedLane[R, W]] = {}
        #: How many lanes have so many entries, from two on; and how many the longest has, as long as there is a lane.
        self._lengths: dict[int, int] = {}
        self._longest = 1
        #: Heads that wait for their time, and those that wait until the queue was read past their queue offset. Both
        #: may hold an item twice, or one whose lane has another head by now: passed over when they come up.
        self._due: list[tuple[int, int, ParkedLane[R, W]]] = []
        self._unread: list[tuple[int, int, ParkedLane[R, W]]] = []

    def find(self, key: bytes | None, queue_offset: int) -> ParkedLane[R, W] | None:
        """The parked lane that a job of this key and queue offset belongs to, if there is one."""
        return self.lanes.get(key if self._ordered and key is not None else queue_offset)

    def add(self, key: bytes | None, entry: ParkedJob[R]) -> ParkedLane[R, W]:
        """Park a job: in the parked lane of its key, or as the head of a new one. Returns that lane."""
        lane = self.find(key, entry.queue_offset)
        if lane is not None:
            self.insert(lane, entry)
            return lane
        lane = ParkedLane(self._owner, key if self._ordered else None, entry, entry.queue_offset)
        self.lanes[_name(lane)] = lane
        return lane

    def insert(self, lane: ParkedLane[R, W], entry: ParkedJob[R]) -> None:
        """Add an entry to a parked lane."""
        lane.insert(entry)
        length, lengths = len(lane), self._lengths
        lengths[length] = lengths.get(length, 0) + 1
        if length > 2:
            self._count_off(length - 1)
        self._longest = max(self._longest, length)

    @property
    def longest(self) -> int:
        """How many entries the longest parked lane has."""
        return self._longest if self.lanes else 0

    def leave(self, lane: ParkedLane[R, W]) -> bool:
        """Take the head off a parked lane. Returns False if that was the last job, and the lane no longer exists."""
        if not lane.take():
            del self.lanes[_name(lane)]
            return False
        length, lengths = len(lane), self._lengths
        if length > 1:
            lengths[length] = lengths.get(length, 0) + 1
        self._count_off(length + 1)
        if self._longest > length and self._longest not in lengths:
            self._longest = length  # This lane was the only one that was longer, by one.
        return True

    def _count_off(self, length: int) -> None:
        """Note that one lane less has so many entries."""
        lengths = self._lengths
        if lengths[length] == 1:
            del lengths[length]
        else:
            lengths[length] -= 1

    def wait(self, lane: ParkedLane[R, W], read_to: int) -> None:
        """Have the head of a parked lane wait until it may run, where the queue was read up to `read_to`.

        A head that is writing waits for its acknowledgement first: call this again then.
        """
        entry = lane.entry
        if entry.writing:
            return
        if entry.queue_offset >= read_to:
            heappush(self._unread, (entry.queue_offset, entry.place, lane))
        else:
            lane.waiting = True
            heappush(self._due, (entry.due_ms, entry.place, lane))

    def read_on(self, read_to: int) -> None:
        """Note how far the queue was read."""
        unread = self._unread
        while unread and unread[0][0] < read_to:
            _, place, lane = heappop(unread)
            if lane.entry.place == place:
                self.wait(lane, read_to)

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
        """Hand out the parked lanes whose heads have become due. Returns each once."""
        ready = []
        due = self._due
        while due and due[0][0] <= now_ms:
            item = heappop(due)
            if _current(item):
                lane = item[2]
                lane.waiting = False
                ready.append(lane)
        return ready


def _current(item: tuple[int, int, ParkedLane[R, W]]) -> bool:
    _, place, lane = item
    return lane.waiting and lane.entry.place == place


def _name(lane: ParkedLane[R, W]) -> bytes | int:
    return lane.number if lane.key is None else lane.key
