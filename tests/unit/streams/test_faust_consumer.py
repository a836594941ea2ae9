"""Faust's consumer hands over to what commits, opens and drains, and does nothing of that itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from faust.types.tuples import TP

from streams.aio.first_error import FirstError
from streams.application.faust_app import JobsApp
from streams.kafka.consumer.faust_consumer import Consumer, Transport, Wiring
from streams.kafka.consumer.requests import ConsumerRequests
from streams.kafka.consumer.thread import ConsumerThread
from streams.ports.records import TopicPartition
from streams.settings import Settings
from tests.unit.streams.rig import CODEC, P0, Rig, records, rig, turns, until
from tests.unit.streams.test_consumer import Group, Handler, NoRetries


async def unused(*_: object) -> None:
    """What Faust would call for its own messages and partitions."""


class Thread(ConsumerThread):
    """The consumer's thread, which is none: it asks a group that lives in memory."""

    group: Group
    woken = 0

    async def run(self, work: Any) -> Any:
        return await work

    async def committed(self, partitions: Any) -> Any:
        return await self.group.committed(partitions)

    async def bounds(self, partitions: Any) -> Any:
        return await self.group.bounds(partitions)

    async def ends(self, partitions: Any) -> Any:
        return await self.group.ends(partitions)

    async def ids(self, topics: Any) -> Any:
        return await self.group.ids(topics)

    async def commit_due(self, due: Any, generation: int, *, with_map: bool) -> set[str]:
        return await self.group.commit_due(due, generation, with_map=with_map)

    async def seek_all(self, positions: Any, logs: Any) -> None:
        await self.group.seek_all(positions, logs)

    def expelled(self) -> bool:
        return self.group.gone

    def wake(self) -> None:
        self.woken += 1


class Glue(Consumer):
    """The consumer with such a thread."""

    _thread: Thread

    def _new_consumer_thread(self) -> Thread:
        wiring = self._wiring
        thread = Thread(
            self, wiring.settings, wiring.lease,
            concurrency=wiring.concurrency, on_refused=self._look_at_logs, loop=self.loop, beacon=self.beacon,
        )  # fmt: skip
        thread.thread_loop.close()  # it never runs
        thread.group = Group()
        thread.group.answers.set()
        return thread


@asynccontextmanager
async def glue() -> AsyncIterator[tuple[Glue, Rig, JobsApp]]:
    settings = Settings(handover_timeout=0.05, stop_timeout=0.05)
    requests = ConsumerRequests()
    async with rig(Handler(), requests=requests) as it:
        app = JobsApp(settings, [], CODEC, it.worker.service, FirstError())
        wiring = Wiring(settings, it.assignment, requests, NoRetries(), it.lease, it.executor.stop, 1)
        link = Transport(app.conf.broker_consumer, app, wiring)
        yield Glue(link, callback=unused, on_partitions_revoked=unused, on_partitions_assigned=unused), it, app


async def assign(consumer: Glue, *tps: TopicPartition) -> None:
    """An assignment, and what Faust does then."""
    group = consumer._thread.group
    group.generation += 1
    await consumer.on_partitions_assigned({TP(*tp) for tp in tps}, group.generation)
    await consumer.perform_seek()


async def test_what_is_assigned_is_fetched_and_what_has_run_is_committed_when_it_is_drained() -> None:
    async with glue() as (consumer, it, _):
        await assign(consumer, P0)
        assert P0 in consumer._fetches.partitions
        it.take(records(0, 3))
        await it.idle()
        await consumer.on_partitions_revoked({TP(*P0)})
        await consumer.wait_empty()
        assert consumer.committed_last
        assert consumer._thread.group.watermark(P0) == 3
        assert P0 not in consumer._fetches.partitions


async def test_faust_does_not_commit() -> None:
    async with glue() as (consumer, it, _):
        await assign(consumer, P0)
        commits = consumer._thread.group.commits
        it.take(records(0, 3))
        await it.idle()
        assert not await consumer.commit()
        assert consumer._thread.group.commits == commits


async def test_a_stop_is_drained_on_the_revocation() -> None:
    async with glue() as (consumer, it, app):
        await assign(consumer, P0)
        it.take(records(0, 2))
        await it.idle()
        app._stopped.set()
        await asyncio.wait_for(consumer.on_partitions_revoked({TP(*P0)}), 5)
        assert consumer._thread.group.watermark(P0) == 2


async def test_the_worker_s_requests_are_served() -> None:
    async with glue() as (consumer, it, _):
        await assign(consumer, P0)
        consumer._fetches.discard(P0)
        woken = consumer._thread.woken
        it.take(records(0, 1))
        assert P0 in consumer._fetches.partitions
        assert consumer._thread.woken > woken
        await it.idle()
        assert consumer._commits.wanted


async def test_a_fault_while_a_replaced_log_is_opened_ends_the_worker() -> None:
    """Else its partition would stay closed, and nobody would say so."""
    async with glue() as (consumer, _, _app):
        await assign(consumer, P0)
        consumer._thread.group.refusals.append(ValueError("a fault of ours"))
        consumer.reopen(P0, {P0: None})
        await until(lambda: consumer.crashed)


async def test_nothing_goes_to_the_agents_before_faust_resumes() -> None:
    """It empties their queues then: what was put there would be read again only after the next rebalance."""
    async with glue() as (consumer, _, _app):
        flows = [consumer.flow_active]
        await assign(consumer, P0)
        assert P0 in consumer._fetches.partitions
        flows.append(consumer.flow_active)
        woken = consumer._thread.woken
        consumer.resume_flow()
        flows.append(consumer.flow_active)
        assert flows == [True, False, True]
        assert consumer._thread.woken > woken


async def test_a_fetch_of_an_earlier_epoch_takes_nothing_more() -> None:
    async with glue() as (consumer, _, _app):
        await assign(consumer, P0)
        under_way = consumer._fetches.partitions
        await consumer.wait_empty()
        await turns()
        assert P0 not in under_way
        assert under_way, "aiokafka takes an empty set for all partitions"
