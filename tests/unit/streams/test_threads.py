"""Plain functions as handlers, each in a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any

import pytest

from streams.api.context import JobContext
from streams.errors import DefinitionError, OutOfThreads
from streams.worker.handlers import threads as threads_module
from streams.worker.handlers.threads import ThreadRunner
from tests.unit.streams.rig import P0, job, records, rig, until

CONTEXT = contextvars.ContextVar("CONTEXT", default="none")


def context() -> JobContext:
    return JobContext("id-1", "webhook", b"key")


async def test_runs_beside_the_loop_in_its_context() -> None:
    seen: list[object] = []

    def handler(payload: Any, ctx: JobContext) -> None:
        seen.extend((threading.current_thread().name, CONTEXT.get(), payload.event, ctx.id))

    CONTEXT.set("ours")
    await ThreadRunner().run(handler, job("hello"), context())
    assert seen == ["job-id-1", "ours", "hello", "id-1"]


async def test_the_loop_turns_meanwhile() -> None:
    threads, go = ThreadRunner(), threading.Event()
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

    threads = ThreadRunner()
    await asyncio.gather(*(threads.run(handler, job("x"), context()) for _ in range(200)))


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(2), KeyboardInterrupt(), GeneratorExit()])
async def test_raises_what_the_handler_raises(error: BaseException) -> None:
    def handler(payload: Any, ctx: JobContext) -> None:
        raise error

    threads = ThreadRunner()
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
    threads, go = ThreadRunner(), threading.Event()

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
    with caplog.at_level("INFO", "streams.worker.handlers.threads"):
        go.set()
        await until(lambda: threads.left_behind == 0)
    assert caplog.messages[1:] == ["the thread that job id-1 of queue webhook left behind has ended; 0 still run"]


async def test_all_that_are_left_behind_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    threads, go = ThreadRunner(), threading.Event()
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
    pool, started = ThreadRunner(), list[threading.Thread]()

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
    threads, go, ended = ThreadRunner(), threading.Event(), threading.Event()

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


async def inner() -> None: ...


async def agen() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("result", "remedy"),
    [
        (inner, "declare it `async def`"),
        (lambda: (each for each in [1]), "does not `yield`"),
        (agen, "does not `yield`"),
        (Future, "wait for it within the handler"),
    ],
)
async def test_a_plain_function_that_hands_back_unfinished_work_is_told_so(
    result: Callable[[], Any], remedy: str
) -> None:
    with pytest.raises(DefinitionError, match=remedy):
        await ThreadRunner().run(lambda payload, ctx: result(), job("x"), context())


# -- a system that has no thread to give ------------------------------------------------------------------------------


class Limit:
    """How many threads the system gives, as a limit of processes or memory does."""

    def __init__(self, patch: pytest.MonkeyPatch, threads: int, error: BaseException) -> None:
        self.left, self.refused = threads, 0
        self._start, self._error = threading.Thread.start, error
        patch.setattr(threading.Thread, "start", lambda thread: self._give(thread))  # noqa: PLW0108 - binds it

    def _give(self, thread: threading.Thread) -> None:
        if self.left <= 0:
            self.refused += 1
            raise self._error
        self.left -= 1
        self._start(thread)


NONE_LEFT = [RuntimeError("can't start new thread"), MemoryError()]


@pytest.mark.parametrize("error", NONE_LEFT)
async def test_jobs_wait_for_the_threads_that_there_are_and_no_attempt_is_counted(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[int] = []

    def handler(payload: Any, ctx: JobContext) -> None:
        attempts.append(ctx.attempt)

    limit = Limit(monkeypatch, 2, error)
    async with rig(handler, concurrency=10) as it:
        it.open(P0)
        it.take(records(0, 50))
        await it.idle()
        assert not it.letters.sent
    assert limit.refused
    assert attempts == [0] * 50
    (line,) = [message for message in caplog.messages if "no more threads" in message]
    assert "ulimit" in line


async def test_a_wait_for_a_thread_counts_towards_no_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    limit = Limit(monkeypatch, 0, NONE_LEFT[0])
    async with rig(lambda payload, ctx: ran.append(ctx.id), timeout=0.05) as it:
        it.open(P0)
        it.take(records(0, 3))
        await until(lambda: limit.refused > 6)
        assert not ran
        limit.left = 1
        await it.idle()
        assert not it.letters.sent
    assert len(ran) == 3


async def test_a_worker_that_gets_no_thread_at_all_ends_and_blames_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "_GIVE_UP_AFTER", 0.0)
    Limit(monkeypatch, 0, NONE_LEFT[0])
    async with rig(lambda payload, ctx: None, concurrency=2) as it:
        failures = it.failures
        it.open(P0)
        it.take(records(0, 3))
        await until(lambda: failures)
        assert isinstance(failures[0], OutOfThreads)
        assert not it.letters.sent


async def test_a_stop_does_not_wait_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Limit(monkeypatch, 0, NONE_LEFT[0])
    async with rig(lambda payload, ctx: None) as it:
        it.open(P0)
        it.take(records(0, 3))
        await until(lambda: limit.refused)
        await asyncio.wait_for(it.executor.stop(), 20)
        assert not it.letters.sent


# -- threads are used again -------------------------------------------------------------------------------------------


async def test_a_thread_is_replaced_only_when_it_was_left_behind() -> None:
    threads, go, used = ThreadRunner(), threading.Event(), list[int]()

    def handler(payload: Any, ctx: JobContext) -> None:
        used.append(threading.get_ident())
        if payload.event == "hang":
            go.wait(20)

    async def run(event: str) -> None:
        await threads.run(handler, job(event), context())

    for event in ("one", "two", "three"):
        await run(event)
    hanging = asyncio.create_task(run("hang"))
    await until(lambda: len(used) == 4)
    hanging.cancel()
    await asyncio.wait([hanging])
    await run("after")
    go.set()
    await until(lambda: threads.left_behind == 0)
    await run("last")
    assert len(set(used[:4])) == 1
    assert used[4] == used[5] != used[3]


async def test_idle_threads_end_with_the_worker() -> None:
    threads, used = ThreadRunner(), list[threading.Thread]()
    await threads.run(lambda payload, ctx: used.append(threading.current_thread()), job("x"), context())
    threads.close()
    used[0].join(20)
    assert not used[0].is_alive()


async def test_an_exception_sent_too_late_harms_no_later_run(caplog: pytest.LogCaptureFixture) -> None:
    """As by libraries that interrupt a function with PyThreadState_SetAsyncExc, when it has just returned."""
    threads, ran = ThreadRunner(), list[threading.Thread]()
    await threads.run(lambda payload, ctx: ran.append(threading.current_thread()), job("first"), context())
    assert ran[0].ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ran[0].ident), ctypes.py_object(KeyboardInterrupt))
    for event in ("wakes it", "last"):
        await asyncio.wait_for(
            threads.run(lambda payload, ctx: ran.append(threading.current_thread()), job(event), context()), 20
        )
    assert "it is dropped" in caplog.text
    assert len(ran) == 3
    assert {thread.is_alive() for thread in ran} == {True}
    threads.close()
