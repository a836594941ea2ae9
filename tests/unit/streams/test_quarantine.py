"""Suspected jobs on a real event loop: set aside, named in a commit before they start, few at once."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

import pytest

from schemas.models.webhook import DeliverWebhook
from streams.api.context import JobContext
from streams.core.offsets.crash_record import MAX_NAMED
from streams.core.retry.backoff import Fixed
from streams.core.retry.policy import RetryPolicy
from streams.ports.records import PartitionStart
from streams.worker.admission.suspect import SuspectRun
from tests.unit.streams.gate import Gate, after_a_death, commit, commit_soon, noted
from tests.unit.streams.rig import P0, P1, Rig, record, records, rig, turns, until


async def test_a_suspected_job_starts_only_when_a_commit_names_it() -> None:
    gate = Gate()
    async with after_a_death(gate, commits=False) as it:
        it.take(records(0, 3))
        await turns()
        assert not gate.started
        assert noted(it).removesuffix("@") == "~1", "nobody is named until the broker has answered"
        commit(it)
        (due,) = it.assignment.collect_commits()
        assert due.commit.metadata.removesuffix("@") == "~1,0!0,1!0,1!0"
        await turns()
        assert not gate.started, "it is not committed before the broker says so"
        it.assignment.commits_acknowledged([due])
        await until(lambda: len(gate.started) == 3)
        gate.go.set()
        await it.idle()


async def test_jobs_beyond_suspicion_start_at_once() -> None:
    gate = Gate()
    async with after_a_death(gate, commits=False) as it:
        it.take([record(100), record(101)])
        await until(lambda: len(gate.started) == 2)


async def test_few_of_them_run_at_once_and_all_in_the_end() -> None:
    gate = Gate()
    async with after_a_death(gate) as it:
        it.take(records(0, 100))
        await until(lambda: len(gate.started) == MAX_NAMED)
        await turns(200)
        assert len(gate.started) == MAX_NAMED
        gate.go.set()
        await it.idle()
        assert len(gate.started) == 100


async def test_a_death_alone_is_enough() -> None:
    gate = Gate()
    gate.go.set()
    async with after_a_death(gate, "~1,1*1") as it:
        it.take(records(0, 3))
        await it.idle()
        assert gate.started == ["0", "2"]
        assert it.letters.header("job-error-type") == ["streams.errors.KilledItsWorkers"]


async def test_a_lost_partitions_job_that_waits_to_be_named_is_forgotten() -> None:
    gate = Gate()
    async with after_a_death(gate, commits=False) as it:
        it.take(records(0, 1))
        await turns()
        it.assignment.block_starts()
        it.open(P1, generation=2)
        await until(lambda: not it.executor.active)
        it.take(records(0, 1), P1)
        await until(lambda: len(gate.started) == 1)


async def test_a_job_that_fails_is_cleared() -> None:
    """It killed nobody; its retry is another record."""

    async def fail(job: DeliverWebhook, ctx: JobContext) -> None:
        if not ctx.attempt:
            raise ValueError("once")

    policy = RetryPolicy(backoff=Fixed(0.01), jitter="none")
    async with rig(fail, retry=policy) as it:
        it.asked.on_commit_now = partial(commit_soon, it)
        it.open(P0, committed=PartitionStart(0, "~1,0!0", 0, 100))
        it.take(records(0, 2))
        await it.idle()
        due = {each.tp: each.commit for each in it.assignment.collect_commits()}
        assert due[P0].metadata.removesuffix("@") == "~1"
        assert due[P0.retry].metadata.removesuffix("@") == "^0,1~1"


async def test_free_jobs_run_while_more_suspected_ones_wait_than_there_are_runners() -> None:
    gate = Gate()
    async with after_a_death(gate, "~1,0!0,1!0,2!0", concurrency=MAX_NAMED + 20) as it:
        it.open(P0, P1, generation=2)
        it.take(records(0, 100, [f"key-{number}" for number in range(100)]))
        await until(lambda: it.executor.active)
        gate.free.add(gate.started[0])
        gate.free.update("012")
        await until(lambda: len(gate.running) > 10)
        it.take([record(500 + number, event=f"free-{number}") for number in range(10)], P1)
        await until(lambda: len([event for event in gate.running if event.startswith("free")]) == 10)
        assert it.executor.active == len(gate.running) <= MAX_NAMED + 10
        gate.go.set()
        await it.idle()
        assert len(gate.started) == len(set(gate.started)) == 110


async def test_a_lane_that_is_set_aside_keeps_its_order_and_runs_each_job_once() -> None:
    gate = Gate()
    gate.go.set()
    async with after_a_death(gate, "~1,3!0,40!0", concurrency=3) as it:
        it.take(records(0, 80, ["a", "b", "c", None]))
        it.take(records(80, 40, ["a", "b", "c", None]))
        await it.idle()
        assert len(gate.started) == len(set(gate.started)) == 120
        for key in range(3):
            of_key = [int(event) for event in gate.started if int(event) % 4 == key]
            assert of_key == sorted(of_key)


CUTS = ["set aside", "named", "submitted"]


async def rebalance_at(it: Rig, cut: str) -> None:
    """Block starts while the jobs that were taken have come so far and have not started."""
    await until(lambda: it.assignment.collect_commits() or cut == "set aside")
    if cut != "set aside" and "!" not in noted(it):
        commit(it)
    if cut == "submitted":
        commit(it)
    it.assignment.block_starts()


@pytest.mark.parametrize("metadata", ["~1", "~1,0!0"])
@pytest.mark.parametrize("cut", CUTS)
async def test_nothing_starts_in_a_handover_nor_is_named_and_all_runs_once_after_it(metadata: str, cut: str) -> None:
    gate = Gate()
    gate.go.set()
    async with after_a_death(gate, metadata, commits=False) as it:
        it.take(records(0, 3, ["a", "b"]))
        await rebalance_at(it, cut)
        await turns(200)
        assert not {"!", "*"} & set(noted(it)), "nobody who has not begun is named"
        assert await it.assignment.quiet(0.5)
        commit(it)
        await turns(200)
        assert not gate.started
        it.asked.on_commit_now = partial(commit_soon, it)
        it.open(P0, generation=2)
        await it.idle()
        assert sorted(gate.started) == ["0", "1", "2"]


@pytest.mark.parametrize("metadata", ["~1", "~1,0!0"])
@pytest.mark.parametrize("cut", CUTS)
async def test_what_waits_of_a_lost_partition_is_dropped_and_holds_back_nobody(metadata: str, cut: str) -> None:
    gate = Gate()
    gate.go.set()
    async with after_a_death(gate, metadata, commits=False) as it:
        it.take(records(0, 3))
        await rebalance_at(it, cut)
        it.open(P1, generation=2)
        it.take([record(200 + number, event=f"free-{number}") for number in range(2)], P1)
        await until(lambda: len(gate.started) == 2)
        commit(it)
        await turns(200)
        assert gate.started == ["free-0", "free-1"]


async def test_a_stop_is_not_held_up_by_those_that_wait() -> None:
    gate = Gate()
    async with after_a_death(gate, "~1,0!0") as it:
        it.take(records(0, 60))
        await until(lambda: gate.started)
        it.assignment.block_starts()
        quiet = asyncio.ensure_future(it.assignment.quiet(5))
        started = list(gate.started)
        gate.go.set()
        assert await quiet
        assert gate.started == started


async def test_nobody_is_named_while_nothing_may_start() -> None:
    gate = Gate()
    async with after_a_death(gate, "~1") as it:
        it.take(records(0, 60))
        await until(lambda: len(gate.started) == MAX_NAMED)
        it.assignment.block_starts()
        gate.free.update(gate.started[:5])
        await until(lambda: len(gate.running) == MAX_NAMED - 5)
        assert noted(it).count("!") == MAX_NAMED - 5
        gate.go.set()


@pytest.mark.parametrize("metadata", ["~1", "~1,0!0,1!0"])
async def test_nothing_is_kept_of_a_lost_partition(metadata: str) -> None:
    gate = Gate()
    async with after_a_death(gate, metadata, commits=False) as it:
        it.take(records(0, 60))
        await until(it.assignment.collect_commits)
        commit(it)
        it.assignment.block_starts()
        it.open(P1, generation=2)
        gate.go.set()
        await until(lambda: not it.executor.active)
        gc.collect()
        assert not [each for each in gc.get_objects() if type(each) is SuspectRun]


async def test_what_still_runs_when_its_partition_is_let_go_is_not_named() -> None:
    gate = Gate()
    async with after_a_death(gate, "~1,0!0") as it:
        it.take(records(0, 3))
        await until(lambda: gate.started == ["0"])
        it.assignment.block_starts()
        assert not await it.assignment.quiet(0.01)
        assert noted(it).removesuffix("@") == "~1,0*1"
        it.assignment.release()
        assert noted(it).removesuffix("@") == "~1,0.1"
        it.assignment.claim()
        assert noted(it).removesuffix("@") == "~1,0*1", "who has it back answers for it"
        it.assignment.unblock_starts()
        gate.go.set()
        await it.idle()


async def test_a_run_that_a_stop_cuts_short_clears_nobody() -> None:
    gate = Gate()
    async with after_a_death(gate, "~1,0!0") as it:
        it.take(records(0, 1))
        await until(lambda: gate.started)
        it.assignment.block_starts()
        await it.executor.stop()
        it.assignment.release()
        assert noted(it).removesuffix("@") == "~1,0.1"
