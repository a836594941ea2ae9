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
async def test_one_that_is_cancelled_is_left_behind_until_it_ends(ends_with: Exception | None) -> None:
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
    go.set()
    await until(lambda: threads.left_behind == 0)


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
