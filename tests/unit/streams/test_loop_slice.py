"""How long the runners of a queue go on at once, and what they leave to others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import monotonic

import pytest

from streams.aio import loop_slice
from streams.aio.loop_slice import SLICE, LoopSlice
from tests.unit.streams.rig import P0, record, rig, turns, until


async def test_jobs_that_never_wait_go_on_with_the_next_turn_of_the_loop() -> None:
    part, now = LoopSlice(), monotonic()
    assert part.begin(now)
    assert not part.begin(now + SLICE)
    await part.next()
    assert part.begin(now + SLICE)


async def test_behind_records_that_are_no_jobs_the_loop_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that only turns leaves the consumer's thread no time, and other queues no records."""
    monkeypatch.setattr(loop_slice, "REST", 1.0)
    part, now = LoopSlice(), monotonic()
    part.rest(now)
    assert part.begin(now)
    assert not part.begin(now + loop_slice.JUNK_SLICE)
    following = asyncio.ensure_future(part.next())
    await turns(20)
    assert not following.done()
    await until(following.done)
    assert part.begin(monotonic())


@pytest.mark.parametrize("concurrency", [1, 50])
async def test_whatever_is_no_job_is_a_dead_letter_all_the_same(
    monkeypatch: pytest.MonkeyPatch, concurrency: int
) -> None:
    monkeypatch.setattr(loop_slice, "JUNK_SLICE", 0.0)
    rests: list[float] = []
    rest = LoopSlice.rest

    def note(self: LoopSlice, now: float) -> None:
        rests.append(now)
        rest(self, now)

    monkeypatch.setattr(LoopSlice, "rest", note)

    async def handler(job: object, ctx: object) -> None:
        """Nothing."""

    async with rig(handler, concurrency=concurrency) as it:
        it.open(P0)
        junk = [replace(record(number), value=b"no job") for number in range(40)]
        it.take([*junk, record(40)])
        await it.idle()
        assert len(it.letters.to(f"{P0.topic}.dead")) == len(rests) == 40


async def test_few_runners_wait_for_the_next_slice_and_bring_the_others_to_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundred that were woken with each slice, to find it used up by the first, would leave jobs little of it."""
    monkeypatch.setattr(loop_slice, "JUNK_SLICE", 0.0)
    waiting, most, at_once = 0, 0, 0
    next_slice = LoopSlice.next

    async def count(self: LoopSlice) -> None:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        try:
            await next_slice(self)
        finally:
            waiting -= 1

    monkeypatch.setattr(LoopSlice, "next", count)
    everyone = asyncio.Event()

    async def handler(job: object, ctx: object) -> None:
        nonlocal at_once
        at_once += 1
        if at_once == 50:
            everyone.set()
        await everyone.wait()

    async with rig(handler, concurrency=50) as it:
        it.open(P0)
        it.take([replace(record(number), value=b"no job") for number in range(60)])
        it.take([record(number) for number in range(60, 110)])
        await it.idle()
    assert most < 10
    assert at_once == 50, "all are at work at once, all the same"
