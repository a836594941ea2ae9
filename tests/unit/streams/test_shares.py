"""Who gets the next process of the pool."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from streams.core.partition.lanes import Lane
from streams.worker.process_pool.member import Member
from streams.worker.process_pool.shares import Share, Shares


class Queue:
    """Lanes that are ready, and a runner that takes whatever is handed back."""

    def __init__(self, shares: Shares, limit: int = 100) -> None:
        self.share: Share = shares.share(lambda lane: True, limit, self._run)
        self.runs: deque[Any] = deque()

    def add(self, count: int = 1) -> None:
        for _ in range(count):
            self._run(Lane(None, None, None))

    def _run(self, lane: Any) -> None:
        if not self.share.withhold(lane):
            self.runs.append(lane)

    def end(self) -> None:
        self.share.give_back(self.runs.popleft())


class Pool:
    """Shares whose processes are there as soon as they are wanted."""

    def __init__(self, size: int, *, made: bool = True) -> None:
        self.idle: list[Member] = []
        self.made = made
        self.wanted: list[int] = []
        self.shares = Shares(size, self.idle, self._make, self.idle.append)

    def _make(self, wanted: int) -> None:
        self.wanted.append(wanted)
        if self.made:
            for _ in range(wanted):
                member = Member()
                member.alive = True
                self.idle.append(member)
            self.shares.hand_out()


async def test_one_queue_may_use_all() -> None:
    pool = Pool(3)
    queue = Queue(pool.shares)
    queue.add(10)
    assert len(queue.runs) == 3


async def test_a_queue_gets_its_first_process_however_many_are_busy() -> None:
    pool = Pool(3)
    greedy, quick, other = (Queue(pool.shares) for _ in range(3))
    greedy.add(10)
    quick.add(2)
    other.add(2)
    assert [len(queue.runs) for queue in (greedy, quick, other)] == [3, 1, 1]


async def test_what_becomes_free_goes_to_the_queue_that_has_fewest() -> None:
    pool = Pool(4)
    greedy, other = Queue(pool.shares), Queue(pool.shares)
    greedy.add(20)
    other.add(20)
    assert [len(queue.runs) for queue in (greedy, other)] == [4, 1]
    for _ in range(4):
        greedy.end()
    assert [len(queue.runs) for queue in (greedy, other)] == [2, 2]
    for queue in (greedy, other) * 8:
        queue.end()
        assert len(greedy.runs) + len(other.runs) == 4
        assert min(len(greedy.runs), len(other.runs)) >= 1


@pytest.mark.parametrize(("size", "waiting", "wanted"), [(4, 1, 1), (4, 3, 3), (4, 20, 4), (1, 20, 1)])
async def test_no_more_processes_are_wanted_than_jobs_wait_for(size: int, waiting: int, wanted: int) -> None:
    pool = Pool(size, made=False)
    Queue(pool.shares).add(waiting)
    assert max(pool.wanted) == wanted


async def test_no_more_processes_are_wanted_than_a_queue_may_use() -> None:
    pool = Pool(8, made=False)
    Queue(pool.shares, limit=2).add(20)
    assert max(pool.wanted) == 2


async def test_a_queue_that_may_start_nothing_leaves_processes_to_others() -> None:
    pool = Pool(1, made=False)
    held, other = Queue(pool.shares), Queue(pool.shares)
    held.add(3)
    assert len(held.share.recall()) == 3
    pool.made = True
    other.add(3)
    assert len(other.runs) == 1
    other.end()
    assert len(other.runs) == 1


async def test_a_process_that_died_idle_is_no_process() -> None:
    pool = Pool(2)
    queue = Queue(pool.shares)
    queue.add()
    queue.end()
    pool.idle[0].alive = False
    queue.add()
    assert len(queue.runs) == 1
    assert queue.share.process_of(queue.runs[0]).alive  # type: ignore[union-attr]
