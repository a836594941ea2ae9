"""Runs are apart: what one sets, holds or leaves behind, no later one meets."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from streams.api.context import JobContext
from streams.core.retry.backoff import Fixed
from streams.core.retry.policy import NO_RETRY, RetryPolicy
from streams.worker.upkeep.garbage_sweep import Sweep
from tests.unit.streams.rig import P0, Rig, record, records, rig, until

TENANT = contextvars.ContextVar("TENANT", default="nobody")
ODD: contextvars.ContextVar[Any] = contextvars.ContextVar("ODD")


class Incomparable:
    """As an array is: what a comparison gives is no bool."""

    def __eq__(self, other: object) -> bool:
        raise SystemExit("no comparison")

    __hash__ = None  # type: ignore[assignment]


def set_all(event: str) -> None:
    TENANT.set(event)
    ODD.set(Incomparable())
    decimal.getcontext().prec = 3
    decimal.getcontext().flags[decimal.Inexact] = True


def state() -> tuple[str, int, bool]:
    context = decimal.getcontext()
    return TENANT.get(), context.prec, bool(context.flags[decimal.Inexact])


async def run_all(handler: Any, *, concurrency: int = 1, jobs: int = 6, retry: RetryPolicy = NO_RETRY) -> Rig:
    async with rig(handler, concurrency=concurrency, retry=retry) as it:
        failures = it.failures
        it.open(P0)
        it.take(records(0, jobs))
        await it.idle()
        assert not failures
        return it


@contextmanager
def a_precision_of(digits: int) -> Iterator[None]:
    """What a job module does that wants another precision throughout."""
    before = decimal.getcontext().prec
    decimal.getcontext().prec = digits
    try:
        yield
    finally:
        decimal.getcontext().prec = before


# -- context variables, and what is kept in them ----------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_what_an_async_job_sets_no_other_sees(concurrency: int) -> None:
    seen: list[tuple[str, int, bool]] = []

    async def handler(job: Any, ctx: JobContext) -> None:
        seen.append(state())
        set_all(job.event)
        await asyncio.sleep(0)
        assert state()[:2] == (job.event, 3)

    decimal.getcontext()  # What was there before is an object that they all would share.
    ODD.set(Incomparable())
    await run_all(handler, concurrency=concurrency)
    assert seen == [("nobody", 28, False)] * 6


async def test_what_a_plain_job_sets_no_other_sees() -> None:
    seen: list[tuple[str, int, bool]] = []

    def handler(job: Any, ctx: JobContext) -> None:
        seen.append(state())
        set_all(job.event)

    decimal.getcontext()
    await run_all(handler)
    assert seen == [("nobody", 28, False)] * 6


async def test_what_a_failing_job_sets_no_other_sees_nor_its_own_retry() -> None:
    seen: list[str] = []

    async def handler(job: Any, ctx: JobContext) -> None:
        seen.append(TENANT.get())
        TENANT.set(job.event)
        if ctx.attempt == 0:
            raise ValueError

    await run_all(handler, jobs=3, retry=RetryPolicy(max_attempts=2, backoff=Fixed(0), jitter="none"))
    assert seen == ["nobody"] * 6


@pytest.mark.parametrize("plain", [False, True])
async def test_what_job_modules_have_set_every_run_has_and_none_can_change(plain: bool) -> None:
    seen: list[tuple[str, int, bool]] = []

    def work(job: Any, ctx: JobContext) -> None:
        seen.append(state())
        decimal.getcontext().prec = 3
        decimal.getcontext().flags[decimal.Inexact] = True

    async def on_loop(job: Any, ctx: JobContext) -> None:
        work(job, ctx)

    TENANT.set("the module's")
    with a_precision_of(50):
        await run_all(work if plain else on_loop)
        assert decimal.getcontext().prec == 50
    assert seen == [("the module's", 50, False)] * 6


async def test_runners_that_a_job_brings_to_work_do_not_inherit_from_it() -> None:
    """Most are made by the first, in its task, which has run a job by then."""
    seen: list[str] = []
    gate = asyncio.Event()

    async def handler(job: Any, ctx: JobContext) -> None:
        seen.append(TENANT.get())
        TENANT.set(job.event)
        if job.event != "0":
            await gate.wait()

    async with rig(handler, concurrency=30) as it:
        it.open(P0)
        it.take([record(0)])
        await it.idle()
        it.take(records(1, 30))
        await until(lambda: len(seen) == 31)
        gate.set()
        await it.idle()
    assert seen == ["nobody"] * 31


async def test_a_task_that_was_renamed_is_the_next_jobs_no_more() -> None:
    names: list[str] = []

    async def handler(job: Any, ctx: JobContext) -> None:
        task = asyncio.current_task()
        assert task is not None
        names.append(task.get_name())
        task.set_name(f"import of {job.event}")

    await run_all(handler)
    assert len(set(names)) == 1


async def test_jobs_that_set_nothing_share_their_task() -> None:
    """A task for each job would cost as much as the job."""
    tasks: set[object] = set()

    async def handler(job: Any, ctx: JobContext) -> None:
        tasks.add(asyncio.current_task())
        await asyncio.sleep(0)

    await run_all(handler, jobs=50)
    assert len(tasks) == 1


async def test_a_stop_ends_runners_that_were_given_new_tasks() -> None:
    started: list[str] = []

    async def handler(job: Any, ctx: JobContext) -> None:
        TENANT.set(job.event)
        started.append(job.event)
        if len(started) > 5:
            await asyncio.Event().wait()

    async with rig(handler, concurrency=1) as it:
        it.open(P0)
        it.take(records(0, 10))
        await until(lambda: len(started) == 6)
        await it.executor.stop()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "runner"]


# -- threads ----------------------------------------------------------------------------------------------------------


async def test_what_is_kept_by_thread_is_there_once_for_each_job_that_may_run() -> None:
    made: list[object] = []
    local = threading.local()

    def handler(job: Any, ctx: JobContext) -> None:
        if not hasattr(local, "connection"):
            local.connection = object()
            made.append(local.connection)

    await run_all(handler, concurrency=4, jobs=300)
    assert len(made) <= 4


# -- what a failed run held -------------------------------------------------------------------------------------------


class Large:
    """Twenty megabytes, say."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("retry", [RetryPolicy(max_attempts=2, backoff=Fixed(0), jitter="none"), NO_RETRY])
async def test_what_a_failing_handler_held_goes_without_the_collector(
    plain: bool, retry: RetryPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "collect", lambda generation=2: 0)
    held: list[weakref.ref[Large]] = []

    def work(job: Any, ctx: JobContext) -> None:
        large = Large()
        held.append(weakref.ref(large))
        raise ValueError("cannot be resized", large)

    async def on_loop(job: Any, ctx: JobContext) -> None:
        work(job, ctx)

    await run_all(work if plain else on_loop, concurrency=2, jobs=20, retry=retry)
    await until(lambda: not any(ref() for ref in held))


@pytest.mark.usefixtures("no_collector")
async def test_nothing_is_collected_after_failures_that_leave_no_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs a tenth of the worker's time where thousands fail."""
    sweeps: list[bool] = []
    monkeypatch.setattr(Sweep, "soon", lambda sweep: sweeps.append(True))

    async def handler(job: Any, ctx: JobContext) -> None:
        raise ValueError("cannot be resized")

    await run_all(handler, concurrency=2, jobs=20)
    assert not sweeps


@pytest.mark.usefixtures("no_collector")
async def test_what_the_error_behind_an_error_holds_in_a_cycle_is_collected_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweeps: list[bool] = []
    monkeypatch.setattr(Sweep, "soon", lambda sweep: sweeps.append(True))

    async def handler(job: Any, ctx: JobContext) -> None:
        last: Exception | None = None
        for _ in range(3):
            try:
                int("no number")
            except ValueError as error:
                last = error
        raise RuntimeError("gave up") from last

    await run_all(handler, jobs=2)
    assert len(sweeps) == 2


@pytest.mark.usefixtures("no_collector")
async def test_what_a_handlers_own_cycle_holds_does_not_wait_for_fifty_thousand_objects() -> None:
    held: list[weakref.ref[Large]] = []

    async def handler(job: Any, ctx: JobContext) -> None:
        large = Large()
        held.append(weakref.ref(large))
        error = ValueError("is kept by its own frame", large)
        assert error  # A name of the frame, which the traceback holds.
        raise error

    async with rig(handler) as it:
        it.open(P0)
        it.take(records(0, 20))
        await it.idle()
        await until(lambda: not any(ref() for ref in held))
