"""The worker's own blocking calls: apart from those of handlers, bounded, and patient where there is no thread."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from streams.aio.blocking_calls import BlockingCalls
from tests.unit.streams.rig import turns, until


async def test_returns_and_raises_what_the_call_does() -> None:
    calls = BlockingCalls("test", 2)
    assert await calls.run(int, "1f", base=16) == 31
    with pytest.raises(ValueError, match="invalid literal"):
        await calls.run(int, "x")
    with pytest.raises(RuntimeError, match="StopIteration"):
        await calls.run(next, iter(()))


async def test_goes_on_while_handlers_have_filled_the_executor_of_the_loop() -> None:
    go = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    filled = [asyncio.ensure_future(asyncio.to_thread(go.wait, 20)) for _ in range(50)]
    await turns()
    assert await BlockingCalls("test", 1).run(lambda: "opened") == "opened"
    go.set()
    await asyncio.gather(*filled)


async def test_no_more_at_once_than_its_threads_and_none_is_made_for_a_call() -> None:
    calls, go = BlockingCalls("bounded", 3), threading.Event()
    waiting = [asyncio.ensure_future(calls.run(go.wait, 20)) for _ in range(20)]
    await turns()
    assert sum(thread.name == "bounded" for thread in threading.enumerate()) == 3
    go.set()
    assert await asyncio.gather(*waiting) == [True] * 20
    for _ in range(20):
        await calls.run(int)
    assert sum(thread.name == "bounded" for thread in threading.enumerate()) == 3


async def test_a_call_that_is_cancelled_before_it_begins_is_not_made() -> None:
    calls, go, made = BlockingCalls("test", 1), threading.Event(), list[int]()
    first = asyncio.ensure_future(calls.run(go.wait, 20))
    second = asyncio.ensure_future(calls.run(made.append, 2))
    await turns()
    second.cancel()
    await turns()
    go.set()
    await first
    await calls.run(made.append, 3)
    assert made == [3]


async def test_waits_while_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    calls = BlockingCalls("registry-call", 2)
    with monkeypatch.context() as shortage:
        shortage.setattr(threading.Thread, "start", refuse)
        waiting = asyncio.ensure_future(calls.run(int, "7"))
        await until(lambda: caplog.messages)
    assert await waiting == 7
    assert caplog.messages[0].startswith("the system gives no more threads (can't start new thread)")


async def test_what_a_failed_call_held_is_let_go_of_at_once() -> None:
    class Large:
        pass

    held: list[weakref.ref[Large]] = []

    def fail() -> None:
        large = Large()
        held.append(weakref.ref(large))
        raise ValueError(large)

    calls = BlockingCalls("test", 1)
    gc.disable()
    try:
        with pytest.raises(ValueError, match="Large"):
            await calls.run(fail)
        await calls.run(int)
        await turns()
        assert held[0]() is None
    finally:
        gc.enable()
