"""Which queue's jobs get the processes of the pool.

A queue's first process is its own: it gets one however many others are busy, so that no queue's long jobs hold up
another's. Beyond that queues share as many as the pool is to have, and what becomes free goes to the one that has the
fewest. So at the most as many processes run jobs as the pool is to have, and one more for each queue but one.

A lane whose head waits for a process is *withheld*: it is here and in no executor, occupies no runner, and its job has
not begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from streams.ports.records import WorkLane
from streams.worker.process_pool.member import Member


class Share:
    """The processes of one queue, and the lanes that wait for one."""

    def __init__(
        self, pool: Shares, in_process: Callable[[WorkLane], bool], limit: int, submit: Callable[[WorkLane], None]
    ) -> None:
        """A queue's share.

        in_process  tells whether the head of a lane runs in a process at all
        limit       how many may at once
        submit      called with a lane that was withheld, and may start
        """
        self._pool = pool
        self.limit = limit
        self._in_process = in_process
        self._running: dict[WorkLane, Member] = {}
        self.waiting: deque[WorkLane] = deque()
        #: Lanes that were handed back, and are to get a process when a runner takes them.
        self.expected = 0
        self._submit = submit

    @property
    def size(self) -> int:
        """How many processes it has, or is about to have."""
        return len(self._running) + self.expected

    def withhold(self, lane: WorkLane) -> bool:
        """Give the head of a lane a process, if it runs in one. Returns whether it is withheld until one is free."""
        if not self._in_process(lane):
            return False
        process = self._pool.take(self)
        if process is None:
            self.waiting.append(lane)
            self._pool.hand_out()
            return True
        self._running[lane] = process
        return False

    def process_of(self, lane: WorkLane) -> Member | None:
        """The process that the head of a lane runs in."""
        return self._running.get(lane)

    def give_back(self, lane: WorkLane) -> None:
        """The run is over, or never came about."""
        process = self._running.pop(lane, None)
        if process is not None:
            self._pool.give_back(process)

    def recall(self) -> Sequence[WorkLane]:
        """Take back all lanes that are withheld, for whoever starts no jobs for now."""
        lanes, self.waiting = self.waiting, deque()
        self.expected = 0
        return lanes

    def claim_expected(self) -> bool:
        """Take what a lane that was handed back is to get. Returns False if there is no such lane."""
        if not self.expected:
            return False
        self.expected -= 1
        return True

    def hand_back(self) -> None:
        """Let the lane go on that has waited longest."""
        self.expected += 1
        self._submit(self.waiting.popleft())


class Shares:
    """Who gets the next process.

    size       processes that all queues share
    idle       those that could take a job at once
    on_wanted  called with how many more are needed
    released   called with a process that was given back
    """

    def __init__(
        self, size: int, idle: list[Member], on_wanted: Callable[[int], None], released: Callable[[Member], None]
    ) -> None:
        self.size = size
        self._idle = idle
        self._on_wanted = on_wanted
        self._released = released
        self.queues: list[Share] = []

    def share(self, in_process: Callable[[WorkLane], bool], limit: int, submit: Callable[[WorkLane], None]) -> Share:
        """Make the share of one more queue: see Share."""
        share = Share(self, in_process, limit, submit)
        self.queues.append(share)
        return share

    def take(self, share: Share) -> Member | None:
        """Give a share a process. Returns None if it is not its turn, or none is there."""
        if not share.claim_expected() and not self._may_have_one(share):
            return None
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
        return None

    def give_back(self, process: Member) -> None:
        """Take a process back that has run a job."""
        self._released(process)
        self.hand_out()

    def hand_out(self) -> None:
        """Let lanes go on as far as there are processes, and say how many more are needed."""
        while self._free > 0 and (entitled := self._entitled()):
            min(entitled, key=lambda share: share.size).hand_back()
        wanted = self._wanted()
        if wanted:
            self._on_wanted(wanted)

    @property
    def _free(self) -> int:
        return len(self._idle) - sum(share.expected for share in self.queues)

    @property
    def _busy(self) -> int:
        return sum(share.size for share in self.queues)

    def _entitled(self) -> list[Share]:
        return [share for share in self.queues if share.waiting and self._may_have_one(share)]

    def _may_have_one(self, share: Share) -> bool:
        """Whether it is a share's turn, if there is a process for it."""
        if share.size == 0:
            return True
        others = (other.size for other in self.queues if other is not share and (other.waiting or other.expected))
        fair = share.size <= min(others, default=share.size)
        return fair and share.size < share.limit and self._busy < self.size

    def _wanted(self) -> int:
        """How many processes lanes wait for that may have one."""
        waiting = [share for share in self.queues if share.waiting]
        firsts = sum(share.size == 0 for share in waiting)
        all_of_them = sum(min(len(share.waiting), share.limit - share.size) for share in waiting)
        return firsts + max(0, min(all_of_them - firsts, self.size - self._busy - firsts))
