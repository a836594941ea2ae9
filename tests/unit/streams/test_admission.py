"""May a lane start now? What holds it back, and what is waited for then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import monotonic
from typing import cast

import pytest

from streams.aio.loop_slice import SLICE
from streams.core.offsets.tracker import OffsetTracker
from streams.core.partition.lanes import Lane
from streams.core.partition.partition import QueuePartition
from streams.ports.group import GroupRequests
from streams.ports.records import Record, WorkLane, WorkPartition
from streams.worker.admission.admission import Admission, ReadyLanes
from streams.worker.admission.lease import GroupLease
from streams.worker.admission.quarantine import Quarantine
from streams.worker.admission.start_block import StartBlock
from streams.worker.process_pool.member import Member
from streams.worker.process_pool.shares import Shares


class Asked:
    """Counts the commits that somebody waits for, and the others that are asked for."""

    def __init__(self) -> None:
        self.commits = 0
        self.later = 0

    def commit_soon(self) -> None:
        self.later += 1

    def commit_now(self) -> None:
        self.commits += 1


class Queue:
    """The ready lanes of one queue and their admission: what is submitted again ends there, too."""

    def __init__(self, shares: Shares | None = None) -> None:
        self.active, self.has_free_runner = 0, True
        #: When all is taken that `take` does: a slice of the loop is over soon on a busy machine.
        self.now = monotonic()
        #: How many lanes were left when it was hungry.
        self.told: list[int] = []
        self.asked = Asked()
        self.lease = GroupLease(session=10)
        self.quarantine = Quarantine(cast("GroupRequests", self.asked))
        self.quarantine.join(self)
        self.lanes = ReadyLanes(2, self._hungry)
        share = None if shares is None else shares.share(lambda lane: lane.key == b"cpu", 5, self.lanes.add_first)
        self.admission = Admission(self, self.lanes, self.lease, self.quarantine, share)

    def _hungry(self) -> None:
        self.told.append(len(self.lanes.startable))

    def submit(self, lanes: Iterable[WorkLane]) -> None:
        self.lanes.extend(lanes)

    def submit_alone(self, lane: WorkLane) -> None:
        self.lanes.add_alone(lane)

    def block(self, reason: StartBlock) -> None:
        self.admission.block(reason)

    def unblock(self, reason: StartBlock) -> None:
        self.admission.unblock(reason)

    def take(self) -> WorkLane | None:
        return self.admission.take(self.now)


def partition(metadata: str = "", *, end: int = 0) -> WorkPartition:
    made: WorkPartition = QueuePartition(OffsetTracker(0, metadata), limit_jobs=10, limit_bytes=1000)
    if end:
        made.crashes.suspect_below(end, 0, 10)
    return made


class Job:
    """A record without content."""

    def __init__(self, offset: int) -> None:
        self.offset = offset


def lane(owner: WorkPartition, key: bytes | None = None, offset: int = 0) -> WorkLane:
    return Lane(owner, key, cast("Record", Job(offset)))


async def test_ready_lanes_start_in_their_order() -> None:
    queue, owner = Queue(), partition()
    first, second, again = lane(owner), lane(owner), lane(owner)
    queue.submit([first, second])
    assert queue.take() is first
    queue.lanes.add_first(first, again)
    assert [queue.take() for _ in range(4)] == [first, again, second, None]


@pytest.mark.parametrize("reason", StartBlock)
async def test_nothing_starts_until_every_block_is_gone(reason: StartBlock) -> None:
    queue, waiting = Queue(), lane(partition())
    queue.submit([waiting])
    for each in StartBlock:
        queue.block(each)
    queue.unblock(reason)
    assert queue.take() is None
    assert not queue.lanes.startable, "there is nothing to wait for but a lane"
    for each in StartBlock:
        queue.unblock(each)
    assert queue.take() is waiting


async def test_one_that_runs_alone_starts_in_spite_of_the_block_that_is_for_it_and_of_no_other() -> None:
    queue, waiting, alone = Queue(), lane(partition()), lane(partition())
    queue.submit([waiting])
    queue.block(StartBlock.ISOLATION)
    queue.submit_alone(alone)
    queue.block(StartBlock.REBALANCE)
    assert queue.take() is None
    queue.unblock(StartBlock.REBALANCE)
    assert queue.take() is alone
    assert queue.take() is None
    queue.submit_alone(alone)
    queue.unblock(StartBlock.ISOLATION)
    assert [queue.take(), queue.take()] == [waiting, alone], "it was put off, and is one of them"


async def test_nothing_starts_when_the_lease_is_over_until_it_is_renewed() -> None:
    queue, waiting = Queue(), lane(partition())
    queue.submit([waiting])
    now = monotonic()
    queue.lease.renew(now - 20)
    assert queue.admission.take(now) is None
    opened = asyncio.ensure_future(queue.admission.opened(now))
    await asyncio.sleep(0)
    assert not opened.done()
    queue.lease.renew(now)
    await asyncio.wait_for(opened, 10)
    assert queue.admission.take(now) is waiting


async def test_nothing_starts_in_a_slice_that_is_used_up() -> None:
    queue, owner = Queue(), partition()
    queue.submit(lane(owner) for _ in range(3))
    now = monotonic()
    assert queue.admission.take(now) is not None
    assert queue.admission.take(now + SLICE) is None
    assert len(queue.lanes.startable) == 2, "it is left where it was"
    await asyncio.wait_for(queue.admission.opened(now + SLICE), 10)
    assert queue.admission.take(now + SLICE) is not None


async def test_a_rest_ends_the_slice_sooner() -> None:
    queue = Queue()
    queue.submit([lane(partition())])
    now = monotonic()
    queue.admission.rest(now)
    assert queue.admission.take(now + SLICE / 2) is None


async def test_lanes_of_lost_partitions_are_passed_over() -> None:
    queue, lost, mine = Queue(), partition(), partition()
    lost.lose()
    last = lane(mine)
    queue.submit([lane(lost), lane(lost), last])
    assert queue.take() is last
    queue.submit([lane(lost), last])
    queue.submit_alone(lane(lost))
    queue.admission.forget_lost()
    queue.block(StartBlock.ISOLATION)
    assert queue.take() is None
    queue.unblock(StartBlock.ISOLATION)
    assert [queue.take(), queue.take()] == [last, None]


async def test_a_suspect_is_withheld_until_a_commit_names_it() -> None:
    queue, owner = Queue(), partition("~1", end=5)
    suspect, free = lane(owner, offset=0), lane(owner, offset=7)
    queue.submit([suspect, free])
    assert queue.take() is free
    assert queue.take() is None
    assert queue.asked.commits == 1
    for _ in range(2):  # The broker answers; then it has the name.
        owner.offsets.acknowledge(owner.offsets.commit())
        queue.quarantine.committed()
    assert queue.take() is suspect
    run = queue.admission.begin_run(suspect)
    assert run is not None
    run.end(cleared=True)
    assert queue.asked.later == 1, "the broker is to know that it runs no longer, whatever its outcome waits for"


async def test_a_job_waits_for_its_process_and_others_do_not() -> None:
    idle: list[Member] = []
    wanted: list[int] = []
    shares = Shares(1, idle, wanted.append, idle.append)
    queue, owner = Queue(shares), partition()
    first, second, plain = lane(owner, b"cpu"), lane(owner, b"cpu"), lane(owner)
    queue.submit([first, second, plain])
    assert queue.take() is plain
    assert queue.admission.process_of(plain) is None
    assert wanted
    member = Member()
    member.alive = True
    idle.append(member)
    shares.hand_out()
    assert queue.take() is first
    assert queue.admission.process_of(first) is member
    assert queue.take() is None
    queue.admission.end_run(first)
    assert queue.take() is second
    queue.submit([first])
    assert queue.take() is None
    queue.block(StartBlock.REBALANCE)
    queue.unblock(StartBlock.REBALANCE)
    queue.admission.end_run(second)
    assert queue.take() is first, "a block has taken it back from those that wait for a process"


async def test_hungry_is_told_once_when_there_is_no_longer_enough() -> None:
    queue, owner = Queue(), partition()
    assert not queue.lanes.check_and_arm_hungry()
    queue.submit(lane(owner) for _ in range(3))
    assert queue.lanes.check_and_arm_hungry()
    queue.take()
    assert not queue.told
    queue.take()
    assert queue.told == [1]
    queue.take()
    assert queue.told == [1]
    queue.submit(lane(owner) for _ in range(3))
    assert queue.lanes.check_and_arm_hungry()
    owner.lose()
    queue.admission.forget_lost()
    assert queue.told == [1, 0]
