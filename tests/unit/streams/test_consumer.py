"""Commits, hand-overs and stops, on a group that lives in memory and can refuse, hang and move on.

The commit loop and the rebalance are the real ones, with a real assignment and executor; the group, which talks to
Kafka, and the process are stand-ins. There is no Faust.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.errors import CommitFailedError, KafkaError, OffsetMetadataTooLargeError, RequestTimedOutError

from schemas.models.webhook import DeliverWebhook
from streams.api.context import JobContext
from streams.core.offsets.commit_metadata import ALONE, BESIDE, CommitMetadata, NamedJob
from streams.core.offsets.fence import Fence
from streams.core.offsets.finished_map import decode
from streams.core.offsets.tracker import OffsetTracker
from streams.kafka.consumer.commit_loop import CommitLoop
from streams.kafka.consumer.fetch_set import FetchSet
from streams.kafka.consumer.rebalance import Rebalance
from streams.kafka.consumer.requests import ConsumerRequests
from streams.kafka.retry_topic.open_partitions import PartitionOpener
from streams.kafka.retry_topic.reader import RetryTopicReader
from streams.ports.group import CommittedOffset, LogBounds
from streams.ports.records import Anew, DueCommit, TopicPartition
from tests.unit.streams.rig import P0, P1, Rig, record, records, rig, turns, until


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
    #: Of those topics that have one.
    topic_ids: dict[str, str | None] = field(default_factory=dict)

    def watermark(self, tp: TopicPartition) -> int | None:
        return self.held[tp][0] if tp in self.held else None

    def finished(self, tp: TopicPartition) -> list[int]:
        """The map, as run lengths."""
        return decode(self.held[tp][1].partition("~")[0])

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
        return {topic: self.topic_ids.get(topic, "") for topic in topics}

    async def seek_all(self, positions: Mapping[TopicPartition, int], logs: Mapping[TopicPartition, str]) -> None:
        self.seeks = dict(positions)

    def expelled(self) -> bool:
        return self.gone


class NoRetries(RetryTopicReader):
    """Retry logs that are empty."""

    def __init__(self) -> None:
        """No cluster is asked."""

    async def bounds(
        self, partitions: Iterable[TopicPartition], overtaken: Callable[[], bool]
    ) -> dict[TopicPartition, LogBounds]:
        return dict.fromkeys(partitions, LogBounds(0, 0))


@dataclass
class Process:
    """The process around the consumer: a rig, which stops or crashes when a test says so."""

    rig: Rig
    stopping: bool = False
    crashed: bool = False
    started: list[asyncio.Future[Any]] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[Any]:
        self.started.append(asyncio.ensure_future(work))
        return self.started[-1]

    async def cancel_running(self) -> None:
        await self.rig.executor.stop()

    def crash(self) -> None:
        self.stopping = self.crashed = True


@dataclass
class Stage:
    """A commit loop and a rebalance, their group, and the rig that runs the jobs."""

    rebalance: Rebalance
    commits: CommitLoop
    fetches: FetchSet
    group: Group
    rig: Rig
    process: Process

    def fetch_again(self, tp: TopicPartition) -> None:
        self.fetches.add((tp,))

    def reopen(self, tp: TopicPartition, anew: Anew) -> None:
        self.rebalance.reopen(tp, anew)

    def rejoin(self) -> None:
        """There is no group to join."""

    def commit_soon(self) -> None:
        self.commits.commit_soon()

    def commit_now(self) -> None:
        self.commits.commit_now()

    async def revoke(self) -> None:
        """A revocation, in which Faust has the partitions drained."""
        await self.rebalance.revoked(True, self.rebalance.drain)

    async def assign(self, *tps: TopicPartition, generation: int | None = None) -> None:
        self.group.generation = self.group.generation + 1 if generation is None else generation
        await self.rebalance.assigned(tps, self.group.generation, self.rebalance.open)
        # What an assignment commits is only that it is one.
        self.group.commits = 0

    async def commit(self) -> bool:
        return await self.commits.commit()


class Handler:
    """Returns when it may; jobs named slow, when they are let."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, job: DeliverWebhook, ctx: JobContext) -> None:
        self.ran.append(job.event)
        if job.event == "slow":
            await self.go.wait()


@asynccontextmanager
async def stage(
    handler: Callable[..., Any],
    rebalance_type: type[Rebalance] = Rebalance,
    commits_type: type[CommitLoop] = CommitLoop,
    *,
    handover_timeout: float = 0.05,
    stop_timeout: float = 0.05,
    last_timeout: float = 10.0,
) -> AsyncIterator[Stage]:
    requests = ConsumerRequests()
    async with rig(handler, requests=requests) as it:
        group, process, fetches = Group(), Process(it), FetchSet(lambda: None)
        group.answers.set()
        commits = commits_type(it.assignment, group, 0.01, last_timeout=last_timeout)
        rebalance = rebalance_type(
            it.assignment,
            group,
            PartitionOpener(it.assignment, group, NoRetries()),
            commits=commits,
            fetches=fetches,
            host=process,
            handover_timeout=handover_timeout,
            stop_timeout=stop_timeout,
            retry_after=0.01,
        )
        on = Stage(rebalance, commits, fetches, group, it, process)
        requests.serve(on)
        yield on


async def test_a_fault_while_a_replaced_log_is_opened_ends_the_worker() -> None:
    """Else its partition would stay closed, and nobody would say so."""
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.group.refusals.append(ValueError("a fault of ours"))
        on.reopen(P0, {P0: None})
        (reopening,) = on.process.started
        with pytest.raises(ValueError, match="a fault of ours"):
            await reopening


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
        assert P1 in on.fetches.partitions
        await until(lambda: P0 in on.fetches.partitions)
        on.rig.take(records(0, 3))
        await on.rig.idle()
        assert handler.ran == ["0", "1", "2"]


async def test_a_restart_that_another_worker_has_made_meanwhile_is_not_made_again() -> None:
    """Else all that the other one has run since would run again, once the partition comes back."""
    async with stage(Handler()) as on:
        await on.assign(P0, P1)
        await on.revoke()
        on.rig.assignment._restart(P0, {P0: None})
        await on.assign(P1)
        on.group.held[P0] = 7, CommitMetadata().text(7)
        await on.revoke()
        await on.assign(P0, P1)
        assert on.rig.assignment.positions()[P0] == 7


async def test_a_restart_is_made_in_the_next_generation_where_its_partition_stays() -> None:
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.group.held[P0] = 7, CommitMetadata().text(7)
        await on.revoke()
        on.rig.assignment._restart(P0, {P0: None})
        await on.assign(P0)
        assert on.rig.assignment.positions() == {P0: 0}


async def test_a_partition_that_is_restarted_while_another_is_opened_again_is_fetched_too() -> None:
    async with stage(Handler()) as on:
        await on.assign(P0, P1)
        on.group.refusals.append(KafkaError("no leader"))
        on.rig.assignment._restart(P0, {P0: None})
        await until(lambda: not on.group.refusals)
        on.rig.assignment._restart(P1, {P1: None})
        await asyncio.gather(*on.process.started)
        assert {P0, P1} <= on.fetches.partitions
        assert on.group.seeks == {P0: 0, P1: 0}


async def test_nothing_is_fetched_before_it_is_sought_whoever_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that stays had enough, and another of its queue is lost: what is ready falls short at once."""
    handler = Handler()
    async with stage(handler) as on:
        await on.assign(P0, P1)
        on.rig.take([record(number, event="slow") for number in range(10)])
        on.rig.take(records(0, 300), tp=P1)
        on.rig.take(records(10, 10))
        assert on.rig.assignment.is_closed(P0)
        await on.revoke()
        seek, before = on.group.seek_all, []

        async def see(positions: Any, logs: Any) -> None:
            before.append(P0 in on.fetches.partitions)
            await seek(positions, logs)

        monkeypatch.setattr(on.group, "seek_all", see)
        await on.assign(P0)
        assert before == [False]
        assert P0 in on.fetches.partitions
        handler.go.set()


# -- jobs that may have ended a worker, and logs that are made anew ----------------------------------------------------


OLD, OTHER, NEW = "A" * 22, "B" * 22, "C" * 22


MakesAnew = Callable[[str], Awaitable[None]]


@asynccontextmanager
async def suspecting(handler: Handler, *named: NamedJob) -> AsyncIterator[tuple[Stage, MakesAnew]]:
    """A stage whose worker has been assigned P0 after a death, with commits that name these jobs; and what makes a
    topic anew, and has the worker see it."""
    async with stage(handler) as on:
        ids = on.group.topic_ids = {P0.topic: OLD, P0.retry.topic: OTHER}

        async def make_anew(topic: str) -> None:
            ids[topic] = NEW
            on.rig.assignment.check(ids)
            await asyncio.gather(*on.process.started)

        on.group.held[P0] = 0, CommitMetadata("", None, True, named, OLD).text(0)
        on.group.held[P0.retry] = 0, CommitMetadata("", Fence(0, 1), True, [], OTHER).text(0)
        await on.assign(P0)
        commits = asyncio.create_task(on.commits.run())
        yield on, make_anew
        commits.cancel()


async def test_what_was_known_of_jobs_of_a_queue_is_not_of_those_of_the_queue_that_was_made_anew() -> None:
    handler = Handler()
    async with suspecting(handler, NamedJob(5, ALONE, 1)) as (on, make_anew):
        await make_anew(P0.topic)
        on.rig.take(records(0, 8))
        await on.rig.idle()
        assert handler.ran == [str(number) for number in range(8)]


async def test_a_job_that_runs_alone_has_not_ended_its_worker_where_its_retry_topic_is_made_anew() -> None:
    handler = Handler()
    async with suspecting(handler, NamedJob(0, BESIDE, 0)) as (on, make_anew):
        on.rig.take([record(0, event="slow")])
        await until(lambda: handler.ran == ["slow"])
        await make_anew(P0.retry.topic)
        on.rig.take([record(0, event="slow")])
        await until(lambda: handler.ran == ["slow", "slow"])
        handler.go.set()
        await on.rig.idle()


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
    await check_a_refused_commit(CommitLoop, refusal)


class DropsRefusedAcks(CommitLoop):
    """Faust pops acks before it commits them, and updates the committed offset though the broker refused it."""

    async def commit(self) -> bool:
        due = self._source.collect_commits()
        done = await super().commit()
        self._source.commits_acknowledged(due)
        return done


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
async def test_a_consumer_that_drops_refused_acks_is_found(refusal: Exception) -> None:
    """A failed commit drops the acks it was for and can wedge the partition."""
    with pytest.raises(AssertionError):
        await check_a_refused_commit(DropsRefusedAcks, refusal)


async def check_a_refused_commit(commits_type: type[CommitLoop], refusal: Exception) -> None:
    async with stage(Handler(), commits_type=commits_type) as on:
        await on.assign(P0)
        on.rig.take(records(0, 3))
        await on.rig.idle()
        on.group.refusals = [refusal, refusal]
        on.commits._wanted.clear()
        assert not await on.commit()
        assert on.group.watermark(P0) == 0
        assert on.commits.wanted, "the commit handler tries again without news"
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


# -- rebalances -------------------------------------------------------------------------------------------------------


async def test_a_hand_over_commits_what_has_finished_and_waits_no_longer_than_it_may() -> None:
    await check_a_hand_over(Rebalance)


class WaitsForEver(Rebalance):
    """Faust's `wait_empty` has no timeout."""

    async def drain(self) -> None:
        self._block_starts()
        await self._partitions.quiet(1e9)
        await self._commits.commit_last()


class DropsAcksOnRevocation(Rebalance):
    """Faust throws the acks away before the app waits and commits."""

    async def drain(self) -> None:
        self._commits._source.collect_commits = list  # type: ignore[method-assign]
        await super().drain()


@pytest.mark.parametrize("faulty", [WaitsForEver, DropsAcksOnRevocation])
async def test_a_faulty_hand_over_is_found(faulty: type[Rebalance]) -> None:
    """`wait_empty` has no timeout; a revocation throws the acks away."""
    with pytest.raises((AssertionError, asyncio.TimeoutError)):
        await check_a_hand_over(faulty)


async def check_a_hand_over(rebalance_type: type[Rebalance]) -> None:
    async with stage(Handler(), rebalance_type) as on:
        await on.assign(P0)
        on.rig.take([record(0), record(1, event="slow"), record(2), record(3)])
        await until(lambda: on.rig.assignment.pending == 1)
        await asyncio.wait_for(on.rebalance.drain(), 1)
        assert on.group.watermark(P0) == 1
        assert on.group.finished(P0) == [1, 2]


async def test_nothing_is_committed_between_a_hand_over_and_the_next_assignment() -> None:
    """The partitions may be somebody else's by then."""
    handler = Handler()
    async with stage(handler) as on:
        await on.assign(P0)
        on.rig.take([record(0, event="slow"), record(1)])
        await until(lambda: on.rig.assignment.pending == 1)
        await on.rebalance.drain()
        handler.go.set()
        await on.rig.idle()
        assert await on.commit()
        assert on.group.watermark(P0) == 0
        await on.assign(P0)
        assert await on.commit()
        assert (on.group.watermark(P0), on.group.finished(P0)) == (2, [])


async def test_a_hand_over_does_not_wait_for_a_broker_that_hangs() -> None:
    async with stage(Handler(), last_timeout=0.05) as on:
        await on.assign(P0)
        on.rig.take(records(0, 2))
        await on.rig.idle()
        on.group.answers.clear()
        await asyncio.wait_for(on.rebalance.drain(), 5)
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
        await before.rebalance.drain()
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
        await on.rebalance.drain()
        await on.assign(P0, P1)
        assert on.group.seeks == {P0: 2, P1: 0}
        handler.go.set()
        await on.rig.idle()
        assert handler.ran == ["slow", "1"]


async def test_offsets_that_cannot_be_read_are_asked_for_again() -> None:
    async with stage(Handler()) as on:
        on.group.held[P0] = (7, "")
        on.group.refusals = [RequestTimedOutError(), KafkaError("no")]
        await on.assign(P0)
        assert on.group.seeks == {P0: 7}
        assert P0 in on.fetches.partitions


async def test_a_rebalance_that_overtakes_the_reading_of_offsets_wins() -> None:
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
        await on.rebalance.drain()
        on.rig.assignment._backpressure.limit_jobs = 1
        await on.assign(P0, P1)
        assert P1 in on.fetches.partitions
        assert P0 not in on.fetches.partitions


# -- a stop -----------------------------------------------------------------------------------------------------------


async def test_a_stop_cuts_what_runs_too_long_and_commits_the_rest() -> None:
    """A worker whose agent holds an unacked event does not stop on SIGTERM: this one does."""
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.rig.take([record(0), record(1, event="slow"), record(2)])
        await until(lambda: on.rig.assignment.pending == 1)
        on.process.stopping = True
        await asyncio.wait_for(on.rebalance.drain(), 5)
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
            on.process.crash()
        else:
            on.process.stopping = True
        await asyncio.wait_for(on.rebalance.drain(), 5)
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
        on.process.stopping = True
        stopping = asyncio.create_task(on.rebalance.drain())
        await until(lambda: not OffsetTracker(*on.group.held[P0]).crash_record.unreleased)
        assert on.rig.executor.active == 1
        assert not stopping.done()
        handler.go.set()
        await asyncio.wait_for(stopping, 5)
        assert on.group.watermark(P0) == 2


async def test_a_stop_says_of_what_it_has_waited_for_in_vain(caplog: pytest.LogCaptureFixture) -> None:
    """A job whose retry the broker has not acknowledged runs again elsewhere, although it does not run any more."""

    class FailsToo(Handler):
        async def __call__(self, job: DeliverWebhook, ctx: JobContext) -> None:
            await super().__call__(job, ctx)
            if job.event == "fails":
                raise ValueError("it does")

    async with stage(FailsToo()) as on:
        await on.assign(P0)
        on.rig.letters.open.clear()
        on.rig.take([record(0, event="slow"), record(1, event="fails"), record(2)])
        await until(lambda: on.rig.assignment.writing == 1)
        on.process.stopping = True
        await asyncio.wait_for(on.rebalance.drain(), 5)
        assert on.group.watermark(P0) == 0
    assert "0.05 s after the stop 1 jobs still run, and of 1 others the broker has not" in caplog.text


async def test_a_stop_is_made_once_whoever_asks() -> None:
    """Faust asks on the revocation and again when the consumer stops; one may be cancelled."""
    async with stage(Handler()) as on:
        await on.assign(P0)
        on.rig.take([record(0, event="slow"), record(1)])
        await until(lambda: on.rig.assignment.pending == 1)
        on.process.stopping = True
        first = asyncio.create_task(on.rebalance.drain())
        await turns()
        first.cancel()
        await asyncio.wait_for(on.revoke(), 5)
        await asyncio.wait_for(on.rebalance.drain(), 5)
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
        on.process.stopping = True
        handler.go.set()
        await asyncio.wait_for(on.rebalance.drain(), 5)
        assert (on.group.watermark(P0), on.group.watermark(P1)) == (0, 0)
        await on.rebalance.assigned({P0}, on.group.generation, on.rebalance.open)
        assert (on.group.watermark(P0), on.group.watermark(P1)) == (2, 0)


async def test_a_stop_between_two_generations_waits_for_the_next() -> None:
    """Else the consumer is closed before the assignment that would commit, and what has finished runs again."""
    handler = Handler()
    async with stage(handler, stop_timeout=5) as on:
        await on.assign(P0)
        on.rig.take([record(0, event="slow"), record(1)])
        await until(lambda: on.rig.assignment.pending == 1)
        await on.revoke()
        on.group.generation += 1
        on.process.stopping = True
        stopping = asyncio.create_task(on.rebalance.drain())
        handler.go.set()
        await until(lambda: not on.commits.committed_last)
        await turns()
        assert not stopping.done()
        await on.rebalance.assigned({P0}, on.group.generation, on.rebalance.open)
        await asyncio.wait_for(stopping, 5)
        assert on.commits.committed_last
        assert on.group.watermark(P0) == 2


async def test_a_log_that_is_replaced_while_partitions_are_given_up_is_opened_only_where_they_come_back() -> None:
    async with stage(Handler()) as on:
        await on.assign(P0, P1)

        async def hand_over() -> None:
            await on.rebalance.drain()
            on.rig.assignment.retry_log_replaced(on.rig.assignment._partitions[P0])
            on.rig.assignment.retry_log_replaced(on.rig.assignment._partitions[P1])

        await on.rebalance.revoked(True, hand_over)
        await turns(50)
        assert not on.process.started, "nobody knows yet whose they are"
        await on.assign(P1)
        assert on.rig.assignment.positions().keys() == on.group.seeks.keys() == {P1}
        on.reopen(P1, {P1.retry: None})
        assert on.process.started
