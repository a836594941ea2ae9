"""The consumer's commits and hand-overs, on a group that lives in memory and can refuse, hang and move on.

The consumer is the real one, with a real assignment and executor; only its thread, which talks to Kafka, is a stand-in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from aiokafka.errors import CommitFailedError, KafkaError, OffsetMetadataTooLargeError, RequestTimedOutError
from faust.types.tuples import TP

from schemas.models.webhook import DeliverWebhook
from streams.api.context import JobContext
from streams.application.assembly import Engine
from streams.application.faust_app import JobsApp
from streams.core.offsets.commit_metadata import CommitMetadata
from streams.core.offsets.finished_map import decode
from streams.core.offsets.tracker import OffsetTracker
from streams.kafka.consumer import faust_consumer
from streams.kafka.consumer.faust_consumer import Consumer, Transport, Wiring
from streams.kafka.retry_topic.reader import RetryTopicReader
from streams.ports.group import CommittedOffset, LogBounds
from streams.ports.records import DueCommit, TopicPartition
from streams.settings import Settings
from tests.unit.streams.rig import CODEC, P0, P1, Rig, record, records, rig, turns, until

T = TypeVar("T")


@dataclass
class Group:
    """What the broker holds for the group, and what it does with the next commits."""

    generation: int = 1
    held: dict[TopicPartition, tuple[int, str]] = field(default_factory=dict)
    #: Raised by the next commits, one each.
    refusals: list[Exception] = field(default_factory=list)
    commits: int = 0
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    seeks: dict[TopicPartition, int] = field(default_factory=dict)
    gone: bool = False

    def watermark(self, tp: TopicPartition) -> int | None:
        return self.held[tp][0] if tp in self.held else None

    def finished(self, tp: TopicPartition) -> list[int]:
        """The map, as run lengths."""
        return decode(self.held[tp][1].partition("~")[0])

    async def ask(self, work: Awaitable[T]) -> T:
        return await work

    async def commit_due(self, due: Iterable[DueCommit], generation: int, *, with_map: bool) -> set[str]:
        self.commits += 1
        await self.answers.wait()
        if self.refusals:
            raise self.refusals.pop(0)
        if generation != self.generation:
            raise CommitFailedError("the group has rebalanced since")
        for tp, _, commit, _ in due:
            self.held[tp] = (commit.watermark, commit.metadata if with_map else commit.short)
        return set()

    async def committed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, CommittedOffset]:
        if self.refusals:
            raise self.refusals.pop(0)
        return {tp: CommittedOffset(*self.held.get(tp, (None, ""))) for tp in partitions}

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        return dict.fromkeys(partitions, (0, 1_000_000))

    async def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 1_000_000)

    async def ids(self, topics: Iterable[str]) -> dict[str, str | None]:
        return dict.fromkeys(topics, "")

    async def seek_all(self, positions: Mapping[TopicPartition, int], logs: Mapping[TopicPartition, str]) -> None:
        self.seeks = dict(positions)

    def expelled(self) -> bool:
        return self.gone

    def wake(self) -> None:
        """Nothing waits here."""


class NoRetries(RetryTopicReader):
    """Retry logs that are empty."""

    def __init__(self) -> None:
        """No cluster is asked."""

    async def bounds(
        self, partitions: Iterable[TopicPartition], overtaken: Callable[[], bool]
    ) -> dict[TopicPartition, LogBounds]:
        return dict.fromkeys(partitions, LogBounds(0, 0))


@dataclass
class Stage:
    """A consumer, its group, and the rig that runs its jobs."""

    consumer: Consumer
    group: Group
    rig: Rig
    app: JobsApp

    async def assign(self, *tps: TopicPartition, generation: int | None = None) -> None:
        self.group.generation = self.group.generation + 1 if generation is None else generation
        self.consumer._generation = self.group.generation
        self.consumer._unopened = self.rig.assignment.reassign(tps, self.group.generation)
        await self.consumer.perform_seek()
        # What an assignment commits is only that it is one.
        self.group.commits = 0

    async def commit(self) -> bool:
        return await self.consumer._commit_due()


class Handler:
    """Returns when it may; jobs named slow, when they are let."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, job: DeliverWebhook, ctx: JobContext) -> None:
        self.ran.append(job.event)
        if job.event == "slow":
            await self.go.wait()


async def unused(*_: object) -> None:
    """What Faust would call for its own messages and partitions."""


@asynccontextmanager
async def stage(
    handler: Callable[..., Any], consumer_type: type[Consumer] = Consumer, **settings: Any
) -> AsyncIterator[Stage]:
    values = Settings(**{"handover_timeout": 0.05, "stop_timeout": 0.05} | settings)
    async with rig(handler) as it:
        app = JobsApp(values, Engine(values, [], CODEC))
        wiring = Wiring(values, it.assignment, NoRetries(), it.quarantine, it.lease, it.executor.stop)
        link = Transport(app.conf.broker_consumer, app, wiring)
        committing: list[asyncio.Future[bool]] = []
        group = Group()
        group.answers.set()
        consumer = consumer_type(link, callback=unused, on_partitions_revoked=unused, on_partitions_assigned=unused)
        consumer._thread.thread_loop.close()  # it never ran
        consumer._thread = group  # type: ignore[assignment]
        it.quarantine.on_named = lambda: committing.append(asyncio.ensure_future(consumer._commit_due()))
        yield Stage(consumer, group, it, app)


async def test_a_fault_while_a_replaced_log_is_opened_ends_the_worker() -> None:
    """Else its partition would stay closed, and nobody would say so."""
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.group.refusals.append(ValueError("a fault of ours"))
        on.rig.assignment.on_restart(P0, {P0: None})
        await until(lambda: on.consumer.crashed)


async def test_a_log_that_is_replaced_while_partitions_are_opened_is_opened_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its partition is let go between two steps of the opening, which goes on with the others."""
    handler = Handler()
    async with stage(handler) as on:
        seek = on.group.seek_all

        async def restart_within(positions: Any, logs: Any) -> None:
            await seek(positions, logs)
            if P0 in on.rig.assignment.positions() and not replaced:
                replaced.append(P0)
                on.rig.assignment._restart(P0, {P0: None})

        replaced: list[TopicPartition] = []
        monkeypatch.setattr(on.group, "seek_all", restart_within)
        await on.assign(P0, P1)
        assert replaced
        assert P1 in on.consumer._open
        await until(lambda: P0 in on.consumer._open)
        on.rig.take(records(0, 3))
        await on.rig.idle()
        assert handler.ran == ["0", "1", "2"]


# -- commits ----------------------------------------------------------------------------------------------------------


async def test_commits_the_watermark_and_the_map() -> None:
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.rig.take([record(0, event="slow"), *records(1, 4)])
        await until(lambda: on.rig.assignment.pending == 1)
        assert await on.commit()
        assert (on.group.watermark(P0), on.group.finished(P0)) == (0, [1, 4])


async def test_nothing_to_commit_is_no_request() -> None:
    async with stage(Handler()) as on:
        await on.assign(P0)
        assert await on.commit()
        assert on.group.commits == 0


REFUSALS = [RequestTimedOutError(), KafkaError("no"), CommitFailedError("rebalance"), OffsetMetadataTooLargeError()]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
async def test_a_refused_commit_is_made_again(refusal: Exception) -> None:
    await check_a_refused_commit(Consumer, refusal)


class DropsRefusedAcks(Consumer):
    """Faust pops acks before it commits them, and updates the committed offset though the broker refused it."""

    async def _commit_due(self) -> bool:
        due = self.work.collect_commits()
        done = await super()._commit_due()
        self.work.commits_acknowledged(due)
        return done


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
async def test_a_consumer_that_drops_refused_acks_is_found(refusal: Exception) -> None:
    """A failed commit drops the acks it was for and can wedge the partition."""
    with pytest.raises(AssertionError):
        await check_a_refused_commit(DropsRefusedAcks, refusal)


async def check_a_refused_commit(consumer_type: type[Consumer], refusal: Exception) -> None:
    async with stage(Handler(), consumer_type) as on:
        await on.assign(P0)
        on.rig.take(records(0, 3))
        await on.rig.idle()
        on.group.refusals = [refusal, refusal]
        on.consumer._commit_wanted.clear()
        assert not await on.commit()
        assert on.group.watermark(P0) == 0
        assert on.consumer._commit_wanted.is_set(), "the commit handler tries again without news"
        await on.commit()
        assert await on.commit()
        assert on.group.watermark(P0) == 3
        assert on.rig.assignment.collect_commits() == []


async def test_a_broker_that_takes_no_maps_still_takes_watermarks() -> None:
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.rig.take([record(0), record(1, event="slow"), record(2)])
        await until(lambda: on.rig.assignment.pending == 1)
        on.group.refusals = [OffsetMetadataTooLargeError()]
        assert not await on.commit()
        assert await on.commit()
        assert on.group.held[P0] == (1, CommitMetadata().text(0))


async def test_what_finishes_while_a_commit_is_under_way_is_committed_next() -> None:
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.rig.take(records(0, 3))
        await on.rig.idle()
        on.group.answers.clear()
        under_way = asyncio.create_task(on.commit())
        await until(lambda: on.group.commits == 1)
        on.rig.take(records(3, 3))
        await on.rig.idle()
        on.group.answers.set()
        assert await under_way
        assert on.group.watermark(P0) == 3
        assert await on.commit()
        assert on.group.watermark(P0) == 6


async def test_one_commit_at_a_time() -> None:
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.rig.take(records(0, 3))
        await on.rig.idle()
        on.group.answers.clear()
        both = [asyncio.create_task(on.commit()) for _ in range(2)]
        await until(lambda: on.group.commits)
        await turns()
        assert on.group.commits == 1
        on.group.answers.set()
        assert await asyncio.gather(*both) == [True, True]
        assert on.group.commits == 1, "the second had nothing left to commit"


async def test_faust_does_not_commit() -> None:
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.rig.take(records(0, 3))
        await on.rig.idle()
        assert not await on.consumer.commit()
        assert on.group.commits == 0


# -- rebalances -------------------------------------------------------------------------------------------------------


async def test_a_hand_over_commits_what_has_finished_and_waits_no_longer_than_it_may() -> None:
    await check_a_hand_over(Consumer)


class WaitsForEver(Consumer):
    """Faust's `wait_empty` has no timeout."""

    async def wait_empty(self) -> None:
        self.work.block_starts()
        await self.work._all_quiet()
        await self._commit_last()


class DropsAcksOnRevocation(Consumer):
    """Faust throws the acks away before the app waits and commits."""

    async def wait_empty(self) -> None:
        self.work.collect_commits = list  # type: ignore[method-assign]
        await super().wait_empty()


@pytest.mark.parametrize("faulty", [WaitsForEver, DropsAcksOnRevocation])
async def test_a_faulty_hand_over_is_found(faulty: type[Consumer]) -> None:
    """`wait_empty` has no timeout; a revocation throws the acks away."""
    with pytest.raises((AssertionError, asyncio.TimeoutError)):
        await check_a_hand_over(faulty)


async def check_a_hand_over(consumer_type: type[Consumer]) -> None:
    async with stage(Handler(), consumer_type) as on:
        await on.assign(P0)
        on.rig.take([record(0), record(1, event="slow"), record(2), record(3)])
        await until(lambda: on.rig.assignment.pending == 1)
        await asyncio.wait_for(on.consumer.wait_empty(), 1)
        assert on.group.watermark(P0) == 1
        assert on.group.finished(P0) == [1, 2]


async def test_nothing_is_committed_between_a_hand_over_and_the_next_assignment() -> None:
    """The partitions may be somebody else's by then."""
    handler = Handler()
    async with stage(handler) as on:
        await on.assign(P0)
        on.rig.take([record(0, event="slow"), record(1)])
        await until(lambda: on.rig.assignment.pending == 1)
        await on.consumer.wait_empty()
        handler.go.set()
        await on.rig.idle()
        assert await on.commit()
        assert on.group.watermark(P0) == 0
        await on.assign(P0)
        assert await on.commit()
        assert (on.group.watermark(P0), on.group.finished(P0)) == (2, [])


async def test_a_hand_over_does_not_wait_for_a_broker_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faust_consumer, "_LAST_COMMIT_TIMEOUT", 0.05)
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.rig.take(records(0, 2))
        await on.rig.idle()
        on.group.answers.clear()
        await asyncio.wait_for(on.consumer.wait_empty(), 5)
        on.group.answers.set()
        await on.assign(P0)
        assert await on.commit()
        assert on.group.watermark(P0) == 2


async def test_another_worker_skips_what_was_handed_over() -> None:
    first, second = Handler(), Handler()
    async with stage(first) as before, stage(second) as after:
        await before.assign(P0)
        before.rig.take([record(0, event="slow"), *records(1, 5)])
        await until(lambda: before.rig.assignment.pending == 1)
        await before.consumer.wait_empty()
        after.group.held = before.group.held
        await after.assign(P0)
        assert after.group.seeks == {P0: 0}
        after.rig.take(records(0, 8))
        await after.rig.idle()
        assert second.ran == ["0", "6", "7"]


async def test_a_partition_that_stays_is_neither_restored_nor_run_again() -> None:
    handler = Handler()
    async with stage(handler) as on:
        await on.assign(P0)
        on.rig.take([record(0, event="slow"), record(1)])
        await until(lambda: on.rig.assignment.pending == 1)
        await on.consumer.wait_empty()
        await on.assign(P0, P1)
        assert on.group.seeks == {P0: 2, P1: 0}
        handler.go.set()
        await on.rig.idle()
        assert handler.ran == ["slow", "1"]


async def test_offsets_that_cannot_be_read_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faust_consumer, "_RETRY_AFTER", 0.01)
    async with stage(Handler()) as on:
        on.group.held[P0] = (7, "")
        on.group.refusals = [RequestTimedOutError(), KafkaError("no")]
        await on.assign(P0)
        assert on.group.seeks == {P0: 7}
        assert P0 in on.consumer._open


async def test_a_rebalance_that_overtakes_the_reading_of_offsets_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faust_consumer, "_RETRY_AFTER", 0.01)
    async with stage(Handler()) as on:
        on.group.refusals = [RequestTimedOutError() for _ in range(1000)]
        assigning = asyncio.create_task(on.assign(P0))
        await until(lambda: len(on.group.refusals) < 1000)
        on.rig.assignment.block_starts()
        await asyncio.wait_for(assigning, 5)
        assert on.rig.assignment.assigned == 0
        assert on.group.seeks == {}


async def test_a_full_partition_stays_closed_through_a_rebalance() -> None:
    async with stage(Handler()) as on:
        await on.assign(P0, P1)
        on.rig.assignment._partitions[P0].limit_jobs = 1
        on.rig.take([record(0, event="slow")])
        await on.consumer.wait_empty()
        on.rig.assignment._limit_jobs = 1
        await on.assign(P0, P1)
        assert P1 in on.consumer._open
        assert P0 not in on.consumer._open


# -- a stop -----------------------------------------------------------------------------------------------------------


async def test_a_stop_cuts_what_runs_too_long_and_commits_the_rest() -> None:
    """A worker whose agent holds an unacked event does not stop on SIGTERM: this one does."""
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.rig.take([record(0), record(1, event="slow"), record(2)])
        await until(lambda: on.rig.assignment.pending == 1)
        on.app._stopped.set()
        await asyncio.wait_for(on.consumer.wait_empty(), 5)
        assert on.rig.executor.active == 0
        assert on.rig.assignment.pending == 1
        assert on.group.watermark(P0) == 1
        assert on.group.finished(P0) == [1, 1]


@pytest.mark.parametrize("fault", [False, True])
async def test_who_stops_for_a_fault_of_its_own_does_not_leave_in_order(fault: bool) -> None:
    """A job may have brought it about, and would bring down the next worker, and the one after it."""
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.rig.take([record(0), record(1, event="slow"), record(2)])
        await until(lambda: on.rig.assignment.pending == 1)
        if fault:
            on.app._crash(ValueError("a fault of ours"))
        else:
            on.app._stopped.set()
        await asyncio.wait_for(on.consumer.wait_empty(), 5)
        assert on.group.watermark(P0) == 1
        tracker = OffsetTracker(*on.group.held[P0])
        assert tracker.crash_record.unreleased == fault


async def test_the_broker_knows_of_a_stop_while_jobs_still_run() -> None:
    """Whoever waits no longer and kills the worker then is none of its jobs."""
    handler = Handler()
    async with stage(handler, stop_timeout=30) as on:
        await on.assign(P0)
        on.rig.take([record(0, event="slow"), record(1)])
        await until(lambda: on.rig.assignment.pending == 1)
        assert await on.commit()
        assert OffsetTracker(*on.group.held[P0]).crash_record.unreleased
        on.app._stopped.set()
        stopping = asyncio.create_task(on.consumer.wait_empty())
        await until(lambda: not OffsetTracker(*on.group.held[P0]).crash_record.unreleased)
        assert on.rig.executor.active == 1
        assert not stopping.done()
        handler.go.set()
        await asyncio.wait_for(stopping, 5)
        assert on.group.watermark(P0) == 2


async def test_a_stop_is_made_once_whoever_asks() -> None:
    """Faust asks on the revocation and again when the consumer stops; one may be cancelled."""
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.rig.take([record(0, event="slow"), record(1)])
        await until(lambda: on.rig.assignment.pending == 1)
        on.app._stopped.set()
        first = asyncio.create_task(on.consumer.wait_empty())
        await turns()
        first.cancel()
        await asyncio.wait_for(on.consumer.on_partitions_revoked({TP(*P0)}), 5)
        await asyncio.wait_for(on.consumer.wait_empty(), 5)
        assert on.group.commits == 1
        assert on.group.watermark(P0) == 0


async def test_what_a_stop_could_not_commit_is_committed_for_the_partitions_that_stay() -> None:
    """The group has moved on when the stop commits; the assignment that follows says what is still this worker's."""
    handler = Handler()
    async with stage(handler, stop_timeout=5) as on:
        await on.assign(P0, P1)
        for tp in (P0, P1):
            on.rig.take([record(0, event="slow"), record(1)], tp)
        await until(lambda: on.rig.assignment.pending == 2)
        on.group.generation += 1
        on.app._stopped.set()
        handler.go.set()
        await asyncio.wait_for(on.consumer.wait_empty(), 5)
        assert (on.group.watermark(P0), on.group.watermark(P1)) == (0, 0)
        await on.consumer.on_partitions_assigned({TP(*P0)}, on.group.generation)
        assert (on.group.watermark(P0), on.group.watermark(P1)) == (2, 0)


async def test_a_stop_between_two_generations_waits_for_the_next() -> None:
    """Else the consumer is closed before the assignment that would commit, and what has finished runs again."""
    handler = Handler()
    async with stage(handler, stop_timeout=5) as on:
        await on.assign(P0)
        on.rig.take([record(0, event="slow"), record(1)])
        await until(lambda: on.rig.assignment.pending == 1)
        await on.consumer.on_partitions_revoked({TP(*P0)})
        await on.consumer.wait_empty()  # Faust's part of a revocation
        on.group.generation += 1
        on.app._stopped.set()
        stopping = asyncio.create_task(on.consumer.wait_empty())
        handler.go.set()
        await until(lambda: not on.consumer.committed_last)
        await turns()
        assert not stopping.done()
        await on.consumer.on_partitions_assigned({TP(*P0)}, on.group.generation)
        await asyncio.wait_for(stopping, 5)
        assert on.consumer.committed_last
        assert on.group.watermark(P0) == 2
