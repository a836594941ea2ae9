"""How soon reports are looked for on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from producers import AsyncJobProducer
from producers.delivery import report_poller
from tests.mock_cluster import MockCluster
from tests.unit.producers.brokers import WITHIN, email, mocked, settings


@pytest.fixture
def broker() -> Iterator[MockCluster]:
    with mocked() as broker:
        yield broker


class CountedLooks:
    """How often a producer's client was asked for reports."""

    def __init__(self, producer: AsyncJobProducer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        poll = producer._client.poll

        def counted(seconds: float) -> int:
            self.count += 1
            return poll(seconds)

        monkeypatch.setattr(producer._client, "poll", counted)


async def deliver(producer: AsyncJobProducer) -> Any:
    return await asyncio.wait_for(await producer.publish(email()), WITHIN)


async def test_who_awaits_a_broker_nearby_is_told_without_waiting_for_a_timer(
    broker: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncJobProducer(settings(broker)) as producer:
        await deliver(producer)
        # Each timer takes longer than the test may, and a broker on a busy machine is nearby.
        monkeypatch.setattr(report_poller, "_SHORTEST", 10 * WITHIN)
        monkeypatch.setattr(report_poller, "_NEARBY", WITHIN)
        producer._loops.here().poller._is_nearby = True
        for _ in range(10):
            await deliver(producer)
        monkeypatch.undo()


@asynccontextmanager
async def far_away(
    broker: MockCluster, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[AsyncJobProducer, CountedLooks]]:
    """A producer that knows that its broker takes so long for an answer."""
    async with AsyncJobProducer(settings(broker)) as producer:
        broker.delay(seconds)
        await deliver(producer)
        yield producer, CountedLooks(producer, monkeypatch)
        broker.delay(0)


async def test_a_broker_far_away_is_not_looked_for_in_each_turn(
    broker: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with far_away(broker, 0.2, monkeypatch) as (producer, looks):
        for _ in range(3):
            await deliver(producer)
        assert looks.count < 3 * 200, "a look each millisecond at the most"


async def test_many_reports_from_far_away_do_not_make_it_nearby(
    broker: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come close behind each other; each was awaited for long all the same."""
    async with far_away(broker, 0.005, monkeypatch) as (producer, looks):
        tasks = []
        for _ in range(500):
            tasks.append(asyncio.create_task(deliver(producer)))
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        assert looks.count < 3_000
