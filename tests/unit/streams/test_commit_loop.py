"""When the commit loop commits: alone, on a source and a target of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from time import monotonic, sleep

from aiokafka.errors import KafkaError

from streams.core.offsets.tracker import Commit, OffsetTracker
from streams.core.partition.partition import QueuePartition
from streams.kafka.consumer.commit_loop import CommitLoop
from streams.ports.records import DueCommit, TopicPartition
from tests.unit.streams.rig import turns, until

TP = TopicPartition("q", 0)


class Broker:
    """Has something to commit whenever it is asked, and takes it or not."""

    def __init__(self, *, collecting: float = 0.0, missing: Iterable[str] = ()) -> None:
        self._collecting = collecting
        self._missing = set(missing)
        self.refusals: list[Exception] = []
        #: When a request came, and of which generation it was.
        self.requests: list[tuple[float, int]] = []
        self.acknowledged = 0
        self.withheld: set[str] = set()

    def collect_commits(self) -> list[DueCommit]:
        sleep(self._collecting)
        offsets = OffsetTracker(0)
        return [DueCommit(TP, offsets, Commit(0, "", 1), QueuePartition(offsets, limit_jobs=1, limit_bytes=1))]

    def commits_acknowledged(self, commits: Iterable[DueCommit]) -> None:
        self.acknowledged += len(list(commits))

    def withhold(self, topics: Iterable[str]) -> None:
        self.withheld.update(topics)

    async def commit_due(self, due: Iterable[DueCommit], generation: int, *, with_map: bool) -> set[str]:
        self.requests.append((monotonic(), generation))
        if self.refusals:
            raise self.refusals.pop(0)
        return self._missing


@asynccontextmanager
async def running(broker: Broker, interval: float, retry_after: float = 60) -> AsyncIterator[CommitLoop]:
    commits = CommitLoop(broker, broker, interval, retry_after=retry_after)
    commits.join(7)
    commits.permit()
    task = asyncio.ensure_future(commits.run())
    try:
        yield commits
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_it_commits_soon_and_then_not_before_the_interval_is_over() -> None:
    broker = Broker()
    async with running(broker, 0.2) as commits:
        for _ in range(5):
            commits.commit_soon()
            await turns()
        assert len(broker.requests) == 1
        await until(lambda: len(broker.requests) == 2)
    (first, generation), (second, _) = broker.requests
    assert second - first >= 0.19
    assert generation == 7


async def test_who_waits_for_a_commit_does_not_wait_for_the_interval() -> None:
    broker = Broker()
    async with running(broker, 60) as commits:
        commits.commit_soon()
        await until(lambda: broker.requests)
        commits.commit_now()
        await until(lambda: len(broker.requests) == 2, within=5)
        commits.commit_soon()
        await turns()
        assert len(broker.requests) == 2, "the one after it waits again"


async def test_large_maps_stretch_the_interval() -> None:
    broker = Broker(collecting=0.02)
    async with running(broker, 0.01) as commits:
        commits.commit_soon()
        await until(lambda: broker.requests)
        assert commits.pause >= 0.2


async def test_a_refused_commit_is_made_again_without_news() -> None:
    broker = Broker()
    broker.refusals = [KafkaError("no")]
    async with running(broker, 60, retry_after=0.01) as commits:
        commits.commit_soon()
        await until(lambda: broker.acknowledged)
        assert len(broker.requests) == 2


async def test_nothing_is_committed_without_permission() -> None:
    broker = Broker()
    async with running(broker, 0.01) as commits:
        await commits.commit_last()
        assert commits.committed_last
        commits.commit_soon()
        await turns()
        assert len(broker.requests) == 1
        assert await commits.commit()
        assert len(broker.requests) == 1


async def test_a_topic_that_is_not_there_is_withheld_and_not_acknowledged() -> None:
    broker = Broker(missing=["q"])
    async with running(broker, 60) as commits:
        assert await commits.commit()
    assert (broker.withheld, broker.acknowledged) == ({"q"}, 0)
