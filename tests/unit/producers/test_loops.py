"""One asyncio producer, and the event loops of a program: one after the other, side by side, closed, interrupted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from producers import AsyncJobHandle, AsyncJobProducer, DeliveryFailed, DeliveryPending, LogPosition, ProducerSettings
from tests.mock_cluster import MockCluster
from tests.unit.producers.brokers import WITHIN, email, mocked, settings


@pytest.fixture
def broker() -> Iterator[MockCluster]:
    with mocked() as broker:
        yield broker


def abandon(task: asyncio.Task[Any]) -> None:
    """Have the collector say nothing of a task that its loop has left behind: that is what such a test is about."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    with suppress(RuntimeError):  # It lets go of locks of a loop that is closed.
        task.get_coro().close()


async def fire(producer: AsyncJobProducer) -> AsyncJobHandle:
    return await producer.publish(email(), key="k")


async def deliver(producer: AsyncJobProducer) -> LogPosition:
    return await asyncio.wait_for(await producer.publish(email(), key="k"), WITHIN)


async def flush(producer: AsyncJobProducer) -> None:
    await producer.flush(WITHIN)


def test_every_call_may_have_a_loop_of_its_own(broker: MockCluster) -> None:
    producer = AsyncJobProducer(settings(broker))
    fired = asyncio.run(fire(producer))
    assert [asyncio.run(deliver(producer)).offset for _ in range(3)] == [1, 2, 3]
    asyncio.run(flush(producer))
    assert fired.offset == 0
    asyncio.run(producer.close(WITHIN))
    asyncio.run(producer.close(WITHIN))


def test_a_job_is_awaited_on_another_loop_than_it_was_published_on(broker: MockCluster) -> None:
    producer = AsyncJobProducer(settings(broker))
    broker.delay(0.2)
    fired = asyncio.run(fire(producer))
    assert asyncio.run(fired.result(WITHIN)).offset == 0
    asyncio.run(producer.close())


def test_who_has_given_up_waiting_on_a_loop_that_is_closed_holds_up_nobody(broker: MockCluster) -> None:
    producer = AsyncJobProducer(settings(broker))
    broker.delay(0.2)
    loop = asyncio.new_event_loop()
    fired = loop.run_until_complete(fire(producer))
    waiting = loop.create_task(fired.result())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert asyncio.run(fired.result(WITHIN)).offset == 0
    assert asyncio.run(deliver(producer)).offset == 1
    abandon(waiting)
    asyncio.run(producer.close())


def test_loops_in_threads_share_a_producer(broker: MockCluster) -> None:
    producer = AsyncJobProducer(settings(broker), client_options={"queue.buffering.max.messages": 10})
    positions: list[LogPosition] = []

    async def many() -> None:
        positions.extend([await asyncio.wait_for(await producer.publish(email()), WITHIN) for _ in range(30)])
        handles = [await producer.publish(email()) for _ in range(100)]
        positions.extend(await asyncio.wait_for(asyncio.gather(*handles), WITHIN))

    threads = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    assert len(set(positions)) == 4 * 130
    asyncio.run(producer.close())


def test_a_loop_that_ends_while_its_tasks_wait_for_room_holds_up_no_other(broker: MockCluster) -> None:
    producer = AsyncJobProducer(settings(broker), client_options={"queue.buffering.max.messages": 2})
    broker.delay(0.5)
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(fire(producer)) for _ in range(10)]
    loop.run_until_complete(asyncio.sleep(0.05))
    loop.close()
    broker.delay(0)
    assert asyncio.run(deliver(producer)).offset >= 2
    for task in tasks:
        abandon(task)
    asyncio.run(producer.close())


async def test_nobody_is_waited_for_whose_report_is_lost(broker: MockCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncJobProducer(settings(broker)) as producer:
        monkeypatch.setattr(AsyncJobHandle, "_report", lambda *_: None)
        handle = await producer.publish(email())
        with pytest.raises(DeliveryFailed, match="its report is lost"):
            await asyncio.wait_for(handle, WITHIN)


async def test_reports_go_on_after_whatever_is_raised_in_one(
    broker: MockCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncJobProducer(settings(broker)) as producer:
        whole = AsyncJobHandle._report
        faults = iter([ZeroDivisionError("out of place")])

        def report(self: AsyncJobHandle, *arguments: object) -> None:
            whole(self, *arguments)  # type: ignore[arg-type]
            for fault in faults:
                raise fault

        monkeypatch.setattr(AsyncJobHandle, "_report", report)
        for handle in await producer.publish_many([email()] * 10):
            await asyncio.wait_for(handle, WITHIN)
    assert "out of place" in caplog.text


async def test_a_wait_that_is_over_says_why_nothing_is_delivered(broker: MockCluster) -> None:
    nowhere = ProducerSettings(bootstrap_servers="127.0.0.1:1", delivery_timeout_ms=2_000)
    producer = AsyncJobProducer(nowhere)
    handle = await producer.publish(email())
    with pytest.raises(DeliveryPending, match=r"no outcome within 0\.5 s, a broker cannot be reached .*127\.0\.0\.1:1"):
        await handle.result(timeout=0.5)
    with pytest.raises(DeliveryPending, match="a broker cannot be reached"):
        await producer.close(timeout=0.1)
    with pytest.raises(DeliveryFailed, match=r"KAFKA_BOOTSTRAP_SERVERS can be reached") as failed:
        await producer.close()
    assert "Connection refused" in failed.value.cause
    await producer.close()
