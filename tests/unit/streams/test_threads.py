"""Plain functions as handlers, each in a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from streams.context import JobContext
from streams.errors import DefinitionError
from streams.threads import Threads
from tests.unit.streams.rig import job, until

CONTEXT = contextvars.ContextVar("CONTEXT", default="none")


def context() -> JobContext:
    return JobContext("id-1", "webhook", b"key")


async def test_runs_beside_the_loop_in_its_context() -> None:
    seen: list[object] = []

    def handler(payload: Any, ctx: JobContext) -> None:
        seen.extend((threading.current_thread().name, CONTEXT.get(), payload.event, ctx.id))

    CONTEXT.set("ours")
    await Threads().run(handler, job("hello"), context())
    assert seen == ["job-id-1", "ours", "hello", "id-1"]


async def test_the_loop_turns_meanwhile() -> None:
    threads, go = Threads(), threading.Event()
    running = asyncio.create_task(threads.run(lambda payload, ctx: go.wait(20), job("x"), context()))
    await asyncio.sleep(0)
    assert not running.done()
    go.set()
    await running
    assert threads.left_behind == 0


async def test_hundreds_run_at_once() -> None:
    """None waits for another's place: there is no pool to exhaust."""
    together = threading.Barrier(200)

    def handler(payload: Any, ctx: JobContext) -> None:
        together.wait(30)

    threads = Threads()
    await asyncio.gather(*(threads.run(handler, job("x"), context()) for _ in range(200)))


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(2), KeyboardInterrupt(), GeneratorExit()])
async def test_raises_what_the_handler_raises(error: BaseException) -> None:
    def handler(payload: Any, ctx: JobContext) -> None:
        raise error

    threads = Threads()
    try:
        await threads.run(handler, job("x"), context())
    except BaseException as raised:
        assert raised is error
    else:
        raise AssertionError("nothing was raised")
    assert threads.left_behind == 0


@pytest.mark.parametrize("ends_with", [None, ValueError("too late")])
async def test_one_that_is_cancelled_is_left_behind_until_it_ends(
    ends_with: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    threads, go = Threads(), threading.Event()

    def handler(payload: Any, ctx: JobContext) -> None:
        go.wait(20)
        if ends_with:
            raise ends_with

    running = asyncio.create_task(threads.run(handler, job("x"), context()))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert threads.left_behind == 1
    (warning,) = caplog.messages
    assert warning.startswith("job id-1 of queue webhook: its run is over, and its thread goes on")
    assert "left behind by now: 1." in warning
    with caplog.at_level("INFO", "streams.threads"):
        go.set()
        await until(lambda: threads.left_behind == 0)
    assert caplog.messages[1:] == ["the thread that job id-1 of queue webhook left behind has ended; 0 still run"]


async def test_all_that_are_left_behind_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    threads, go = Threads(), threading.Event()
    running = [
        asyncio.create_task(threads.run(lambda payload, ctx: go.wait(20), job("x"), context())) for _ in range(3)
    ]
    await asyncio.sleep(0)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    assert ["by now: 3" in line for line in caplog.messages] == [False, False, True]
    go.set()
    await until(lambda: threads.left_behind == 0)


def until_there(threads: list[threading.Thread]) -> threading.Thread:
    """The first of these, as soon as there is one. The loop does not turn meanwhile."""
    there = threading.Event()
    while not threads:
        there.wait(0.001)
    return threads[0]


async def test_one_that_ends_as_it_is_cancelled_is_not_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    pool, started = Threads(), list[threading.Thread]()

    def handler(payload: Any, ctx: JobContext) -> None:
        started.append(threading.current_thread())

    running = asyncio.create_task(pool.run(handler, job("x"), context()))
    await asyncio.sleep(0)
    until_there(started).join(20)
    await asyncio.sleep(0)  # Its end is known now, and the task has not been told yet.
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert pool.left_behind == 0
    assert not caplog.messages


def test_one_that_outlives_the_loop_harms_nobody() -> None:
    threads, go, ended = Threads(), threading.Event(), threading.Event()

    def handler(payload: Any, ctx: JobContext) -> None:
        try:
            go.wait(20)
        finally:
            ended.set()

    async def abandon() -> None:
        running = asyncio.create_task(threads.run(handler, job("x"), context()))
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(abandon())
    go.set()
    assert ended.wait(20)


async def test_a_plain_function_that_returns_an_awaitable_is_told_so() -> None:
    async def inner() -> None: ...

    with pytest.raises(DefinitionError, match="declare it `async def`"):
        await Threads().run(lambda payload, ctx: inner(), job("x"), context())
