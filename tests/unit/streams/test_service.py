"""What a worker's service does with a fault, and the first error of those that end a worker."""

from __future__ import annotations

import asyncio

import pytest

from streams.aio.first_error import FirstError
from streams.ports.records import Batch
from tests.unit.streams.rig import P0, record, rig, turns


async def nothing(job: object, ctx: object) -> None:
    """No work."""


async def test_a_batch_is_taken_in() -> None:
    async with rig(nothing) as it:
        it.open(P0)
        it.worker.service.take(Batch(P0, it.assignment.epoch, [record(0)]))
        assert it.assignment.pending == 1
        await it.idle()


async def test_a_batch_that_cannot_be_taken_in_ends_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    async with rig(nothing) as it:
        it.open(P0)
        it.worker.service.take(Batch(P0, it.assignment.epoch, []))
        (failure,) = it.failures
        assert isinstance(failure, IndexError)
    assert "could not be taken in: the worker stops" in caplog.text


async def test_a_service_starts_stops_and_leaves_no_task_behind() -> None:
    async with rig(nothing) as it:
        before = asyncio.all_tasks()
        it.worker.service.start()
        it.open(P0)
        it.take([record(0)])
        await it.idle()
        it.assignment.block_starts()
        await it.worker.service.stop()
        await turns()
        assert asyncio.all_tasks() == before
        assert not it.failures


async def test_who_waits_gets_the_first_error() -> None:
    errors = FirstError()
    waiting = asyncio.ensure_future(errors.wait())
    await turns()
    assert not waiting.done()
    first = ValueError("first")
    errors.report(first)
    errors.report(ValueError("second"))
    assert await asyncio.wait_for(waiting, 10) is first
    assert await errors.wait() is first
