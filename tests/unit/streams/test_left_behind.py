"""What a handler leaves behind, and what it makes of a cancellation: the next job has nothing to do with it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import Any

import pytest

from streams.api.context import JobContext
from streams.core.retry.backoff import Fixed
from streams.core.retry.policy import RetryPolicy
from tests.unit.streams.rig import P0, P1, Rig, record, rig, turns, until

SOON = 5.0


def me() -> asyncio.Task[Any]:
    """The runner's task."""
    task = asyncio.current_task()
    assert task is not None
    return task


def uncancel() -> None:
    """Take back what is counted of a cancellation, and not the cancellation."""
    me().uncancel()


def watch_failures(it: Rig) -> list[BaseException]:
    """What would end the worker."""
    return it.failures


async def raised(job: Any, ctx: Any) -> None:
    """Cancels its own task and raises the CancelledError of something else, with no await between."""
    if job.event == "bad":
        me().cancel()
        raise asyncio.CancelledError


async def future_result(job: Any, ctx: Any) -> None:
    if job.event == "bad":
        future: Any = asyncio.get_running_loop().create_future()
        future.cancel()
        me().cancel()
        future.result()


async def uncancelled_and_failed(job: Any, ctx: Any) -> None:
    if job.event == "bad":
        me().cancel()
        uncancel()
        raise ValueError("x")


async def uncancelled_and_follows(job: Any, ctx: Any) -> None:
    if job.event == "bad":
        me().cancel()
        uncancel()
        ctx.publish(job, queue="webhook")


@pytest.mark.parametrize("handler", [raised, future_result, uncancelled_and_failed, uncancelled_and_follows])
async def test_a_cancellation_on_its_way_hits_no_outcome(handler: Any) -> None:
    async with rig(handler, concurrency=1) as it:
        failures = watch_failures(it)
        it.letters.open.clear()
        it.open(P0)
        it.take([record(0, "a", "bad"), record(1, "b")])
        await turns()
        it.letters.open.set()
        await turns()
        assert not failures, "the worker would end"
        await asyncio.wait_for(it.idle(), SOON)


async def test_a_cancellation_on_its_way_hits_no_other_job() -> None:
    ran: list[str] = []

    async def handler(job: Any, ctx: Any) -> None:
        if job.event == "bad":
            me().cancel()
            uncancel()
            return
        await asyncio.sleep(0.01)
        ran.append(job.event)

    async with rig(handler, concurrency=1) as it:
        failures = watch_failures(it)
        it.open(P0)
        it.take([record(0, "a", "bad"), record(1, "b")])
        await asyncio.wait_for(it.idle(), SOON)
        assert not failures
        assert ran == ["1"]
        assert not it.letters.sent


async def test_a_handler_of_the_past_cancels_no_other_jobs_letter() -> None:
    async def handler(job: Any, ctx: Any) -> None:
        if job.event == "timer":
            asyncio.get_running_loop().call_later(0.1, me().cancel)
            return
        raise ValueError("x")

    async with rig(handler, concurrency=1) as it:
        failures = watch_failures(it)
        it.letters.open.clear()
        it.open(P0)
        it.take([record(0, "a", "timer"), record(1, "b")])
        await asyncio.sleep(0.3)
        it.letters.open.set()
        await turns()
        assert not failures, "the worker would end"
        await asyncio.wait_for(it.idle(), SOON)


async def test_an_idle_runner_that_is_cancelled_as_a_job_arrives() -> None:
    tasks: list[Any] = []

    async def handler(job: Any, ctx: Any) -> None:
        tasks.append(me())

    async with rig(handler, concurrency=1) as it:
        failures = watch_failures(it)
        it.open(P0)
        it.take([record(0, "a")])
        await asyncio.wait_for(it.idle(), SOON)
        await turns()
        tasks[0].cancel()
        it.take([record(1, "a")])
        await asyncio.wait_for(it.idle(), SOON)
        assert not failures


@pytest.mark.parametrize("how", ["return", "raise"])
async def test_a_partition_that_is_lost_while_a_cancellation_is_absorbed(how: str) -> None:
    def lose() -> None:
        it.assignment.reassign([], 2)
        it.executor.forget_lost()

    async def handler(job: Any, ctx: Any) -> None:
        me().cancel()
        asyncio.get_running_loop().call_soon(lose)
        ctx.publish(job, queue="webhook")
        if how == "raise":
            raise ValueError("x")

    async with rig(handler, concurrency=1) as it:
        watch_failures(it)
        it.letters.open.clear()
        it.open(P0)
        it.take([record(0, "a")])
        await turns()
        stuck = it.executor.active
        it.letters.open.set()
        await turns()
        assert not it.letters.sent
        assert not stuck


async def test_a_partition_lost_while_absorbing_retry_is_not_written() -> None:
    def lose() -> None:
        it.assignment.reassign([], 2)
        it.executor.forget_lost()

    async def handler(job: Any, ctx: Any) -> None:
        me().cancel()
        asyncio.get_running_loop().call_soon(lose)
        raise ValueError("x")

    async with rig(handler, concurrency=1, retry=RetryPolicy(max_attempts=3, backoff=Fixed(0.01), jitter="none")) as it:
        failures = watch_failures(it)
        it.open(P0)
        it.take([record(0, "a")])
        await turns()
        await asyncio.sleep(0.1)
        assert not failures
        assert not it.letters.sent
        assert not it.executor.active


async def test_a_stop_while_a_cancellation_is_absorbed() -> None:
    async def handler(job: Any, ctx: Any) -> None:
        me().cancel()
        stops.append(asyncio.ensure_future(it.executor.stop()))
        raise ValueError("x")

    stops: list[Any] = []
    async with rig(handler, concurrency=1) as it:
        it.letters.open.clear()
        it.open(P0)
        it.take([record(0, "a")])
        await turns()
        assert stops
        start = asyncio.get_running_loop().time()
        await asyncio.wait_for(stops[0], 10)
        took = asyncio.get_running_loop().time() - start
        it.letters.open.set()
        await turns()
        assert took < 1


async def test_timeout_swallowed_then_more_jobs_have_their_timeout() -> None:
    log: list[str] = []

    async def handler(job: Any, ctx: Any) -> None:
        try:
            await asyncio.wait_for(asyncio.sleep(30), 0.05)
        except TimeoutError:
            log.append(f"inner {job.event}")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            log.append(f"cut {job.event}")

    async with rig(handler, concurrency=1, timeout=0.2) as it:
        failures = watch_failures(it)
        it.open(P0)
        it.take([record(n, "a") for n in range(4)])
        await asyncio.wait_for(it.idle(), SOON)
        assert not failures
        assert log == [f"{w} {n}" for n in range(4) for w in ("inner", "cut")]


async def test_a_swallowed_loss_does_not_finish_the_job() -> None:
    async def handler(job: Any, ctx: Any) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ctx.publish(job, queue="webhook")

    async with rig(handler, concurrency=1) as it:
        failures = it.failures
        it.open(P0, P1)
        it.take([record(0, "a"), record(1, "a")])
        await until(lambda: it.executor.active)
        it.assignment.reassign([P1], 2)
        it.executor.forget_lost()
        await turns()
        assert not it.letters.sent and not failures and not it.executor.active
        it.assignment.unblock_starts()
        it.take([record(0, "b")], P1)
        await until(lambda: it.executor.active)


async def test_a_loss_after_a_swallowed_timeout() -> None:
    """The handler takes the timeout's cancellation, and cleans up for long; meanwhile its partition is lost."""
    log: list[str] = []

    async def handler(job: Any, ctx: Any) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            log.append("timeout")
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                log.append("lost")
                raise

    async with rig(handler, concurrency=1, timeout=0.1) as it:
        it.open(P0)
        it.take([record(0, "a")])
        await until(lambda: log)
        it.assignment.reassign([], 2)
        it.executor.forget_lost()
        await asyncio.sleep(0.2)
        assert log == ["timeout", "lost"], "it runs on beside its next owner"


async def test_self_cancelled_then_timeout() -> None:
    """A job that has cancelled itself and gone on still has a timeout."""
    log: list[str] = []

    async def handler(job: Any, ctx: Any) -> None:
        me().cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            log.append("cut")
            raise

    async with rig(handler, concurrency=1, timeout=0.1) as it:
        failures = it.failures
        it.open(P0)
        it.take([record(0, "a"), record(1, "b")])
        await asyncio.wait_for(it.idle(), SOON)
        assert log == ["cut", "cut"] and not failures
        assert it.letters.header("job-error-type") == ["streams.errors.JobTimeout"] * 2


@pytest.mark.parametrize("how", ["swallow", "convert", "self"])
async def test_stops_with_all_kinds(how: str) -> None:
    async def handler(job: Any, ctx: Any) -> None:
        if how == "self":
            me().cancel()
            return
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            if how == "convert":
                raise ValueError("x") from None

    async with rig(handler, concurrency=3) as it:
        it.open(P0)
        it.take([record(n, f"k{n}") for n in range(6)])
        await turns(3)
        begun = asyncio.get_running_loop().time()
        await it.executor.stop()
        assert asyncio.get_running_loop().time() - begun < 1
        assert not it.letters.sent


async def cancel_itself() -> None:
    me().cancel()


async def cancel_itself_and_fail() -> None:
    me().cancel()
    raise ValueError("x")


async def cancel_itself_and_go_on() -> None:
    me().cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


async def swallow_the_timeout() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(30)


async def time_out() -> None:
    await asyncio.sleep(30)


async def time_out_itself() -> None:
    await asyncio.wait_for(asyncio.sleep(1), 0.001)


async def succeed() -> None:
    await asyncio.sleep(0)


ENDINGS = [
    cancel_itself, cancel_itself_and_fail, cancel_itself_and_go_on, swallow_the_timeout, time_out, time_out_itself,
    succeed, succeed,
]  # fmt: skip


async def test_mixtures_of_all_these() -> None:
    """Every job comes to an end, and those of a key run in order, one after the other."""
    chance = random.Random(3)
    runs: list[tuple[str | None, int]] = []
    running: set[str | None] = set()

    async def handler(job: Any, ctx: JobContext) -> None:
        assert ctx.key not in running
        running.add(ctx.key)
        runs.append((ctx.key, int(job.event)))
        try:
            await chance.choice(ENDINGS)()
        finally:
            running.discard(ctx.key)

    policy = RetryPolicy(max_attempts=3, backoff=Fixed(0.001))
    async with rig(handler, concurrency=8, timeout=0.02, retry=policy) as it:
        failures = watch_failures(it)
        it.open(P0)
        it.take([record(number, f"key-{number % 12}") for number in range(300)])
        await asyncio.wait_for(it.idle(), 40)
        assert not failures
    for key in {key for key, _ in runs}:
        events = [event for whose, event in runs if whose == key]
        assert events == sorted(events)


async def test_a_sub_task_of_a_run_that_failed_publishes() -> None:
    said: list[Any] = []
    tasks: list[Any] = []

    async def later(job: Any, ctx: Any) -> None:
        await asyncio.sleep(0.1)
        try:
            said.append(ctx.publish(job, queue="webhook"))
        except RuntimeError as error:
            said.append(error)

    async def handler(job: Any, ctx: Any) -> None:
        tasks.append(asyncio.create_task(later(job, ctx)))
        raise ValueError("x")

    async with rig(handler) as it:
        it.open(P0)
        it.take([record(0, "a")])
        await asyncio.wait_for(it.idle(), 5)
        await until(lambda: said)
        assert isinstance(said[0], RuntimeError), f"got the id {said[0]!r}, and nothing is published"


async def test_a_thread_that_was_left_behind_publishes() -> None:
    said: list[Any] = []
    go = threading.Event()

    def handler(job: Any, ctx: Any) -> None:
        go.wait(5)
        try:
            said.append(ctx.publish(job, queue="webhook"))
        except RuntimeError as error:
            said.append(error)

    async with rig(handler, timeout=0.1) as it:
        it.open(P0)
        it.take([record(0, "a")])
        await asyncio.wait_for(it.idle(), 5)
        go.set()
        await until(lambda: said)
        assert isinstance(said[0], RuntimeError), f"got the id {said[0]!r}, and nothing is published"
