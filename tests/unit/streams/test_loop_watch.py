"""Handlers that block the event loop: they are told of, and their timeouts count; those of others do not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streams.api.context import JobContext
from streams.worker.upkeep import loop_watch
from streams.worker.upkeep.loop_watch import LoopWatch
from tests.unit.streams.rig import P0, Rig, record, rig, until

TELL_AFTER = 0.3
#: Long enough to be told, and for all timeouts of these tests.
LONG = 2.0


@asynccontextmanager
async def watched(handler: Any, *, timeout: float = 30) -> AsyncIterator[Rig]:
    """A rig whose loop is watched, as a worker's is."""
    async with rig(handler, timeout=timeout) as it:
        watch = LoopWatch(lambda: it.executor.runners)
        beats = asyncio.create_task(_beat(watch))
        watch.start()
        it.open(P0)
        try:
            yield it
        finally:
            watch.stop()
            beats.cancel()


async def _beat(watch: LoopWatch) -> None:
    while True:
        watch.beat()
        await asyncio.sleep(0.01)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_watch, "TELL_AFTER", TELL_AFTER)


def wait_for_an_answer() -> None:
    """What is to be seen in the stack."""
    time.sleep(LONG)


async def blocks(job: Any, ctx: JobContext) -> None:
    if job.event.startswith("block"):
        wait_for_an_answer()


async def test_a_run_that_blocks_beyond_its_timeout_has_timed_out() -> None:
    async with watched(blocks, timeout=0.5) as it:
        it.take([record(0, event="block")])
        await it.idle()
        assert it.letters.header("job-error-type") == ["streams.errors.JobTimeout"]
        assert it.letters.header("job-error-message")[0].startswith("the handler ran longer than its timeout of 0.5 s")


async def test_a_run_that_blocks_after_it_has_waited_has_timed_out_too() -> None:
    async def handler(job: Any, ctx: JobContext) -> None:
        await asyncio.sleep(0.01)
        wait_for_an_answer()

    async with watched(handler, timeout=0.5) as it:
        it.take([record(0)])
        await it.idle()
        assert it.letters.header("job-error-type") == ["streams.errors.JobTimeout"]


async def test_who_waits_while_another_job_blocks_has_not_timed_out() -> None:
    """Each of these has what it waits for at once, and can be told of it only when the loop goes on."""
    begun: list[str] = []

    async def handler(job: Any, ctx: JobContext) -> None:
        begun.append(job.event)
        if job.event == "block":
            # The others wait by now.
            await until(lambda: len(begun) == 9)
            wait_for_an_answer()
        else:
            await until(lambda: "block" in begun)
            await asyncio.sleep(0.1)
            await asyncio.sleep(0.1)

    async with watched(handler, timeout=0.8) as it:
        it.take([record(offset, event=f"innocent {offset}") for offset in range(8)])
        it.take([record(8, event="block")])
        await it.idle()
        assert len(it.letters.sent) == 1
        assert it.letters.header("job-origin")[0].endswith("/8")


@pytest.mark.usefixtures("quick")
async def test_it_is_told_which_job_blocks_how_long_and_where(caplog: pytest.LogCaptureFixture) -> None:
    async with watched(blocks) as it:
        it.take([record(0, event="block")])
        await it.idle()
        await until(lambda: "the event loop goes on" in caplog.text)
    blocked, over = (line for line in caplog.messages if "event loop" in line)
    assert blocked.startswith("job jobs.webhook-0-0 of queue webhook has held the event loop for 0.")
    assert "wait_for_an_answer" in blocked
    assert "time.sleep(LONG)" in blocked
    assert "executor.py" not in blocked
    assert over == "the event loop goes on, after job jobs.webhook-0-0 of queue webhook"


@pytest.mark.usefixtures("quick")
async def test_the_same_handler_is_told_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async with watched(blocks) as it:
        it.take([record(0, "a", "block"), record(1, "a", "block again"), record(2, "a", "no more")])
        await it.idle()
        await until(lambda: "the event loop goes on" in caplog.text)
    assert sum("has held the event loop" in line for line in caplog.messages) == 1


@pytest.mark.usefixtures("quick")
async def test_what_is_no_job_is_told_of_too(caplog: pytest.LogCaptureFixture) -> None:
    async def background() -> None:
        wait_for_an_answer()

    async with watched(blocks):
        asyncio.get_running_loop().call_soon(wait_for_an_answer)
        await until(lambda: "a callback has held the event loop" in caplog.text)
        await asyncio.create_task(background(), name="prefetch")
    assert "task 'prefetch' has held the event loop" in caplog.text


async def test_a_loop_that_turns_is_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(job: Any, ctx: JobContext) -> None:
        for _ in range(20):
            await asyncio.sleep(0.01)

    async with watched(handler) as it:
        it.take([record(offset) for offset in range(20)])
        await it.idle()
        assert all(runner.held_loop == 0.0 for runner in it.executor.runners)
    assert "event loop" not in caplog.text
