"""Suspected jobs on a real event loop: named in a commit before they start, few at once, the worst alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from schemas.models.webhook import DeliverWebhook
from streams import solitude
from streams.context import JobContext
from streams.core.backoff import Fixed
from streams.core.custody import COMPANY
from streams.core.retry import RetryPolicy
from streams.intake import Committed
from tests.unit.streams.rig import P0, P1, Rig, record, records, rig, turns, until


class Gate:
    """Lets its jobs go when the test says so."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, job: DeliverWebhook, ctx: JobContext) -> None:
        self.started.append(job.event)
        await self.go.wait()


@asynccontextmanager
async def after_a_death(
    handler: Gate, metadata: str = "~1", *, commits: bool = True, concurrency: int = 100
) -> AsyncIterator[Rig]:
    """A rig whose partition's last owner died; with `commits`, what is named is committed at once."""
    async with rig(handler, concurrency=concurrency) as it:
        if commits:
            it.trials.on_named = partial(commit_soon, it)
        it.open(P0, committed=Committed(0, metadata, 0, 100))
        yield it


def commit_soon(it: Rig) -> None:
    asyncio.get_running_loop().call_soon(commit, it)


def commit(it: Rig) -> None:
    it.intake.committed(it.intake.due())


async def test_a_suspected_job_starts_only_when_a_commit_names_it() -> None:
    gate = Gate()
    async with after_a_death(gate, commits=False) as it:
        it.take(records(0, 3))
        await turns()
        assert not gate.started
        (due,) = it.intake.due()
        assert due.commit.metadata == "~1,0!0,1!0,1!0"
        await turns()
        assert not gate.started, "it is not committed before the broker says so"
        it.intake.committed([due])
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
        await until(lambda: len(gate.started) == COMPANY)
        await turns(200)
        assert len(gate.started) == COMPANY
        gate.go.set()
        await it.idle()
        assert len(gate.started) == 100


async def test_who_was_running_at_a_death_runs_alone() -> None:
    gate = Gate()
    async with after_a_death(gate, "~1,2!0") as it:
        it.take(records(0, 5))
        await until(lambda: gate.started)
        await turns(200)
        assert gate.started == ["2"]
        gate.go.set()
        await it.idle()
        assert sorted(gate.started) == list("01234")


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


async def test_two_named_deaths_are_enough() -> None:
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
        it.intake.suspend()
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
        it.trials.on_named = partial(commit_soon, it)
        it.open(P0, committed=Committed(0, "~1,0!0", 0, 100))
        it.take(records(0, 2))
        await it.idle()
        due = {each.tp: each.commit for each in it.intake.due()}
        assert due[P0].metadata == "~1"
        assert due[P0.retry].metadata == "^0,1~1"


async def test_a_long_job_that_runs_alone_lets_others_start_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solitude, "WINDOWS", (0.01,))
    gate = Gate()
    async with after_a_death(gate, "~1,0!0,1!0") as it:
        it.take(records(0, 4))
        await until(lambda: len(gate.started) == 3)
        await turns(200)
        assert len({"0", "1"} & set(gate.started)) == 1, "no two that have a death to their account"
        gate.go.set()
        await it.idle()
        assert len(gate.started) == 4


async def test_a_commit_says_so_before_others_start_beside_the_one_that_ran_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A death is then no longer certainly its own."""
    monkeypatch.setattr(solitude, "WINDOWS", (0.01,))
    gate = Gate()
    async with after_a_death(gate, "~1,0!0", commits=False) as it:
        it.take(records(0, 2))
        await until(lambda: says(it).startswith("~1,0*1"))
        commit(it)
        await until(lambda: gate.started == ["0"])
        await until(lambda: says(it).startswith("~1,0!1"))
        assert gate.started == ["0"]
        commit(it)
        await until(lambda: says(it).startswith("~1,0!1,1!0"))
        commit(it)
        await until(lambda: gate.started == ["0", "1"])


async def test_those_that_wait_take_no_runner() -> None:
    """Others run, however many are suspected."""
    gate = Gate()
    async with after_a_death(gate, concurrency=COMPANY + 2) as it:
        it.open(P0, P1, generation=2)
        it.take(records(0, 100))
        await until(lambda: len(gate.started) == COMPANY)
        it.take(records(200, 2), P1)
        await until(lambda: {"200", "201"} <= set(gate.started))


async def test_what_waits_to_be_named_heeds_a_stop() -> None:
    gate = Gate()
    async with after_a_death(gate) as it:
        it.take(records(0, 100))
        await until(lambda: len(gate.started) == COMPANY)
        it.intake.suspend()
        gate.go.set()
        assert await it.intake.quiet(20)
        await turns(200)
        assert len(gate.started) == COMPANY
        it.intake.let_go()
        assert "!" not in says(it)


async def test_nobody_is_alone_beside_a_job_that_has_just_begun() -> None:
    gate = Gate()
    async with after_a_death(gate, "~1,0!0") as it:
        it.open(P0, P1, generation=2)
        it.take(records(200, 1), P1)
        await until(lambda: gate.started == ["200"])
        it.take(records(0, 1))
        await turns(200)
        assert gate.started == ["200"]
        gate.go.set()
        await it.idle()
        assert gate.started == ["200", "0"]


def says(it: Rig) -> str:
    """What the next commit of the first partition says."""
    return it.intake._partitions[P0].offsets.commit().metadata
