"""Who runs alone: what that waits for, who waits for it, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import pytest

from streams.ports.records import PartitionStart, WorkLane
from streams.worker.admission import isolation
from streams.worker.admission.start_block import StartBlock
from tests.unit.streams.gate import Gate, after_a_death, commit, commit_soon, noted
from tests.unit.streams.rig import P0, P1, record, records, turns, until

#: Takes seconds, by the number of deaths.
Windows = Callable[..., None]


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Windows:
    """Sets how long jobs run alone."""
    return lambda *seconds: monkeypatch.setattr(isolation, "WINDOWS", seconds)


async def test_nothing_else_starts_beside_the_one_that_runs_alone_for_a_while() -> None:
    gate = Gate()
    async with after_a_death(gate, "~1,0!0") as it:
        it.open(P0, P1, generation=2)
        it.take([record(0)])
        await until(lambda: gate.started == ["0"])
        it.take(records(10, 3), P1)
        await turns(200)
        assert gate.started == ["0"]
        gate.go.set()
        await it.idle()
        assert len(gate.started) == 4


async def test_a_long_job_that_runs_alone_lets_others_start_after_a_while(windows: Windows) -> None:
    windows(0.01)
    gate = Gate()
    async with after_a_death(gate, "~1,0!0,1!0") as it:
        it.take(records(0, 4))
        await until(lambda: len(gate.started) == 3)
        await turns(200)
        assert len({"0", "1"} & set(gate.started)) == 1, "no two that have a death to their account"
        gate.go.set()
        await it.idle()
        assert len(gate.started) == 4


async def test_who_is_to_run_alone_waits_for_those_that_have_just_begun() -> None:
    """What kills at once is then none of them, and would not have the death put to another one's account."""
    gate = Gate()
    async with after_a_death(gate, "~1,0!0") as it:
        it.open(P0, P1, generation=2)
        it.take([record(200, event="free")], P1)
        await until(lambda: gate.started == ["free"])
        it.take([record(0)])
        it.take([record(201, event="later")], P1)
        await asyncio.sleep(0.1)
        assert gate.started == ["free"]
        assert "*" not in noted(it)
        gate.free.add("free")
        await until(lambda: gate.started == ["free", "0"])
        assert noted(it).removesuffix("@") == "~1,0*1"
        gate.go.set()
        await it.idle()


async def test_who_is_to_run_alone_is_named_only_when_the_broker_has_just_answered() -> None:
    """A broker that stands still has the name when it goes on, and if the worker has died meanwhile of something else,
    a job that never began would be taken for its killer."""
    gate = Gate()
    async with after_a_death(gate, "~1,0!0", commits=False) as it:
        it.take([record(0)])
        await until(it.assignment.collect_commits)
        await turns()
        assert noted(it).removesuffix("@") == "~1,0.1", "the broker has not answered"
        commit(it)
        assert noted(it).removesuffix("@") == "~1,0*1"
        await turns()
        assert not gate.started
        commit(it)
        await until(lambda: gate.started == ["0"])
        gate.go.set()
        await it.idle()


async def test_it_does_not_wait_for_those_that_run_for_long(windows: Windows) -> None:
    windows(0.2)
    gate = Gate()
    async with after_a_death(gate, "~1,0!0") as it:
        it.open(P0, P1, generation=2)
        it.take([record(200, event="free")], P1)
        await until(lambda: gate.started == ["free"])
        it.take([record(0)])
        await asyncio.sleep(0.1)
        assert gate.started == ["free"]
        await until(lambda: gate.started == ["free", "0"], within=5)
        gate.go.set()
        await it.idle()


class Busy:
    """A queue's executor that is told whether a runner is free."""

    def __init__(self) -> None:
        self.active = 1
        self.has_free_runner = False
        self.holds: set[StartBlock] = set()
        self.alone: list[WorkLane] = []

    def submit(self, lanes: Iterable[WorkLane]) -> None:
        raise AssertionError("nothing of it runs beside others")

    def submit_alone(self, lane: WorkLane) -> None:
        self.alone.append(lane)

    def block(self, reason: StartBlock) -> None:
        self.holds.add(reason)

    def unblock(self, reason: StartBlock) -> None:
        self.holds.discard(reason)


async def test_until_a_runner_is_free_for_it_only_its_own_queue_waits() -> None:
    """All others would stand still for as long as the longest job of its queue runs."""
    gate, busy = Gate(), Busy()
    gate.go.set()
    async with after_a_death(gate) as it:
        it.quarantine.join(busy)
        partition = it.assignment.restore(P1, PartitionStart(0, "~1,0!0", 0, 1), PartitionStart(None, "", 0, 0))
        partition.start(1)
        (lane,) = partition.admit([record(0)])
        it.assignment.start({P1: partition})
        assert it.quarantine.withhold(lane, busy)
        it.take(records(100, 3))
        await until(lambda: len(gate.started) == 3)
        assert busy.holds == {StartBlock.ISOLATION}
        assert noted(it, P1).removesuffix("@") == "~1,0.1"
        busy.active, busy.has_free_runner = 0, True
        await until(lambda: busy.alone)
        it.take(records(103, 3))
        await turns()
        assert len(gate.started) == 3
        assert noted(it, P1).removesuffix("@") == "~1,0*1"


@pytest.mark.parametrize("how", ["it is done", "it has run for a while"])
async def test_others_start_only_when_the_broker_knows_that_it_is_not_alone(windows: Windows, how: str) -> None:
    """Else one of them that kills at once has the broker say that it was the one that ran alone."""
    windows(0.05)
    gate = Gate()
    async with after_a_death(gate, "~1,0!0", commits=False) as it:
        it.take(records(0, 1))
        await until(it.assignment.collect_commits)
        commit(it)
        commit(it)
        await until(lambda: gate.started == ["0"])
        it.take([record(200, event="free")])
        if how == "it is done":
            gate.free.add("0")
        await asyncio.sleep(0.15)
        assert gate.started == ["0"]
        assert noted(it).removesuffix("@") == ("~1,0!1" if "0" in gate.running else "~1")
        commit(it)
        await until(lambda: gate.started == ["0", "free"])
        gate.go.set()
        await it.idle()


async def test_a_job_with_more_deaths_runs_alone_for_longer(windows: Windows) -> None:
    windows(0.01, 60)
    gate = Gate()
    async with after_a_death(gate, "~1,0!1") as it:
        it.take(records(0, 2))
        await until(lambda: gate.started)
        await asyncio.sleep(0.1)
        assert gate.started == ["0"]
        assert noted(it).removesuffix("@") == "~1,0*2"
        gate.go.set()
        await it.idle()


async def test_what_is_submitted_in_company_is_taken_back_for_one_that_runs_alone(windows: Windows) -> None:
    """It is not running, and would be named as if it were."""
    windows(0.05)
    gate = Gate()
    async with after_a_death(gate, "~1,3!0", commits=False, concurrency=2) as it:
        it.open(P0, P1, generation=2)
        it.take(records(0, 3))
        await until(it.assignment.collect_commits)
        commit(it)
        assert noted(it).removesuffix("@") == "~1,0!0,1!0,1!0,1.1"
        it.take([record(200, event="free-0"), record(201, event="free-1")], P1)
        await until(lambda: len(gate.started) == 2)
        it.take(records(3, 1))
        commit(it)
        gate.free.add("free-0")
        while "*" not in noted(it):
            commit(it)
            await turns(1)
        assert noted(it).removesuffix("@") == "~1,3*1"
        it.asked.on_commit_now = partial(commit_soon, it)
        commit(it)
        gate.go.set()
        await it.idle()
        assert sorted(gate.started) == ["0", "1", "2", "3", "free-0", "free-1"]
