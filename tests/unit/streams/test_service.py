"""What a worker's service does with a fault, and the first error of those that end a worker."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from schemas.models.webhook import DeliverWebhook
from streams.aio.first_error import FirstError
from streams.ports.records import Batch, PartitionStart
from tests.unit.streams.rig import P0, TOPIC, Rig, record, records, rig, turns

OLD, NEW = "o" * 22, "n" * 22


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


class Counts:
    """A handler that counts its runs."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()

    async def __call__(self, job: DeliverWebhook, ctx: object) -> None:
        self.ran[job.event] += 1


class LateRegistry:
    """A codec that lacks a schema until its registry answers."""

    def __init__(self) -> None:
        self.registry = object()
        self.answers = asyncio.Event()

    def missing_schema_id(self, value: bytes) -> int | None:
        return None if self.answers.is_set() else 7

    async def load_schema(self, schema_id: int) -> None:
        await self.answers.wait()


async def _batch_that_waits(it: Rig, monkeypatch: pytest.MonkeyPatch) -> tuple[LateRegistry, Batch]:
    """A batch of an old log that waits for its schema."""
    late = LateRegistry()
    monkeypatch.setattr(it.worker.service, "_codec", late)
    it.open(P0, committed=PartitionStart(100, "", 0, 103, OLD))
    batch = Batch(P0, it.assignment.epoch, [record(offset, event=f"old-{offset}") for offset in (100, 101, 102)])
    it.worker.service.take(batch)
    await turns()
    return late, batch


async def test_a_batch_that_waits_for_a_schema_is_not_taken_for_one_of_the_log_that_replaces_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler = Counts()
    async with rig(handler) as it:
        late, _ = await _batch_that_waits(it, monkeypatch)
        it.assignment.check({TOPIC: NEW, f"{TOPIC}.retry": ""})
        it.add([P0], PartitionStart(0, "", 0, 0, NEW))
        late.answers.set()
        await turns(100)
        assert it.assignment.positions() == {P0: 0}
        it.take(records(0, 3))
        await it.idle()
    assert handler.ran == {"0": 1, "1": 1, "2": 1}


async def test_a_batch_that_waits_for_a_schema_is_fetched_again_when_its_partition_was_opened_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler = Counts()
    async with rig(handler) as it:
        late, batch = await _batch_that_waits(it, monkeypatch)
        it.assignment.retry_log_replaced(it.assignment._partitions[P0])
        it.add([P0], PartitionStart(100, "", 0, 103, OLD))
        it.worker.service.take(batch)
        late.answers.set()
        await turns(200)
        assert it.restarted == [(P0, {P0.retry: None})], "the queue's log is the same"
    assert handler.ran == {"old-100": 1, "old-101": 1, "old-102": 1}
