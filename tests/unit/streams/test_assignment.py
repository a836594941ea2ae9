"""What an assignment takes, keeps through a rebalance, and has to commit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter

import pytest

from schemas.models.webhook import DeliverWebhook
from streams.api.context import JobContext
from streams.core.offsets.commit_metadata import CommitMetadata, log_of
from streams.core.offsets.crash_record import StartMode
from streams.core.offsets.finished_map import encode
from streams.core.offsets.log_id import UNKNOWN
from streams.core.partition.parked_job import ParkedJob
from streams.core.partition.restore import Written
from streams.ports.records import Batch, DueCommit, PartitionStart, Record, TopicPartition, WorkPartition
from streams.worker.assignment import Assignment
from streams.worker.executor import ENOUGH
from tests.unit.streams.rig import P0, P1, P2, TOPIC, Rig, record, records, rig, turns, until


class Handler:
    """Runs what it is let to run, and counts."""

    def __init__(self, *, holds: bool = False) -> None:
        self.ran: Counter[str] = Counter()
        self.go = asyncio.Event()
        if not holds:
            self.go.set()

    async def __call__(self, job: DeliverWebhook, ctx: JobContext) -> None:
        self.ran[job.event] += 1
        await self.go.wait()


def acknowledge(assignment: Assignment) -> list[DueCommit]:
    due = assignment.collect_commits()
    assignment.commits_acknowledged(due)
    return due


# -- where partitions start -------------------------------------------------------------------------------------------


async def test_starts_at_the_first_record_when_nothing_was_committed() -> None:
    async with rig(Handler()) as it:
        it.open(P0, committed=PartitionStart(None, "", 7, 20))
        assert it.assignment.positions() == {P0: 7}


async def test_starts_where_the_group_left_it_and_skips_what_its_map_says() -> None:
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0, committed=PartitionStart(10, encode([1, 2, 1, 1]), 0, 20))
        assert it.assignment.positions() == {P0: 10}
        it.take(records(10, 6))
        await it.idle()
        assert sorted(handler.ran) == ["10", "13", "15"]


async def test_a_map_that_cannot_be_read_costs_repetitions_only(caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0, committed=PartitionStart(10, "somebody else's", 0, 20))
        it.take(records(10, 3))
        await it.idle()
        assert sorted(handler.ran) == ["10", "11", "12"]
    assert "cannot be read" in caplog.text


async def test_what_retention_removed_is_said_and_the_rest_of_the_map_still_holds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0, committed=PartitionStart(10, encode([1, 1, 5, 3]), 14, 30))
        assert it.assignment.positions() == {P0: 14}
        it.take(records(14, 8))
        await it.idle()
        assert sorted(handler.ran) == ["14", "15", "16", "20", "21"]
        assert it.assignment.collect_commits()[0].commit.watermark == 22
    assert "retention removed" in caplog.text


async def test_a_topic_that_was_made_anew_is_read_from_its_start(caplog: pytest.LogCaptureFixture) -> None:
    async with rig(Handler()) as it:
        it.open(P0, committed=PartitionStart(1000, encode([1, 1]), 0, 5))
        assert it.assignment.positions() == {P0: 0}
    assert "made anew" in caplog.text


async def test_a_log_that_is_replaced_while_it_is_read_is_read_from_its_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0, committed=PartitionStart(100, "", 0, 200))
        it.take(records(100, 3))
        await it.idle()
        old = it.assignment.collect_commits()
        it.take(records(0, 2))
        assert it.restarted == [(P0, {P0: 0})], "the transport opens it again, and fetches from there"
        it.add([P0], PartitionStart(0, "", 0, 200))
        it.take(records(0, 2))
        await it.idle()
        assert handler.ran == Counter(["100", "101", "102", "0", "1"])
        it.assignment.commits_acknowledged(old)
        (due,) = it.assignment.collect_commits()
        assert due.commit.watermark == 2, "an answer for the old log says nothing of the new one"
    assert "made anew" in caplog.text


async def test_what_is_known_from_the_retry_log_is_committed_although_no_job_ends() -> None:
    """Else its partition stands still once the map is full, as long as its only job runs: where a group's commits have
    expired, and all is read again that waits behind a failure which comes back in an hour."""
    known = 20_000
    async with rig(handler := Handler(holds=True)) as it:
        it.assignment.reassign([P0], 1)
        partition = it.assignment.restore(P0, PartitionStart(None, "", 0, known), PartitionStart(None, "", 0, known))
        failed, behind = int((time.time() + 3600) * 1000), 0
        waiting: list[ParkedJob[Record]] = [
            ParkedJob(record(number, "k"), number, attempt=number == 1, due_ms=failed if number == 1 else behind,
                      retry_offset=number)
            for number in range(1, known)
        ]  # fmt: skip
        partition.load([(each, Written(0)) for each in waiting])
        partition.start(known)
        it.assignment.start({P0: partition})
        it.assignment.unblock_starts()
        it.take([record(0, "long")])
        await until(lambda: handler.ran)
        it.assignment.commits_acknowledged(it.assignment.collect_commits())
        before = it.asked.commits
        for start in range(1, known, 500):
            it.take(records(start, 500, ["k"]))
            if partition.full:
                break
        assert partition.full
        it.assignment.tick(0)
        assert P0 in it.assignment._backpressure.full.values(), "there is no room for more until the next commit"
        assert it.asked.commits > before
        it.assignment.commits_acknowledged(it.assignment.collect_commits())
        assert it.reopened[-1] == P0
        handler.go.set()


OLD, NEW = "o" * 22, "n" * 22


async def test_a_commit_of_another_log_says_nothing_of_this_one(caplog: pytest.LogCaptureFixture) -> None:
    """By its offsets it could be: the new log has outgrown what was committed of the old one."""
    async with rig(Handler()) as it:
        it.open(P0, committed=PartitionStart(10, CommitMetadata(encode([1, 5]), log=OLD).text(10), 0, 2000, NEW))
        assert it.assignment.positions() == {P0: 0}
        it.take(records(0, 3))
        await it.idle()
        (due,) = it.assignment.collect_commits()
        assert log_of(due.commit.metadata) == NEW
    assert "made anew" in caplog.text


def opened(it: Rig, tp: TopicPartition, log: str, *, committed_of: str | None) -> list[str]:
    """The topics whose clients are replaced when a partition is opened whose topics have this id."""
    before = len(it.letters.renewed)
    metadata = None if committed_of is None else CommitMetadata(log=committed_of).text(0)
    start = PartitionStart(None, "", 0, 5, log) if metadata is None else PartitionStart(0, metadata, 0, 5, log)
    it.assignment.restore(tp, start, start)
    return it.letters.renewed[before:]


async def test_who_has_written_to_a_topic_before_it_was_made_anew_has_another_client() -> None:
    """Also where another worker has seen it first, and committed, or the broker has forgotten the commits."""
    both = [P0.topic, P0.retry.topic]
    async with rig(Handler()) as it:
        assert opened(it, P0, OLD, committed_of=OLD) == []
        assert opened(it, P0, NEW, committed_of=NEW) == both, "another worker has committed of the new one"
        assert opened(it, P0, NEW, committed_of=NEW) == []
        assert opened(it, P0, OLD, committed_of=None) == both, "the broker has forgotten what was committed"
        assert opened(it, P0, NEW, committed_of=OLD) == both, "nobody has seen it yet"
        assert opened(it, TopicPartition(P0.topic, 1), NEW, committed_of=OLD) == [], "once for all partitions"
        assert opened(it, P0, UNKNOWN, committed_of=NEW) == [], "nobody knows"


async def test_a_client_is_replaced_once_where_a_worker_sees_itself_that_a_topic_is_another() -> None:
    async with rig(Handler()) as it:
        it.open(P0, committed=PartitionStart(0, CommitMetadata(log=OLD).text(0), 0, 5, OLD))
        it.assignment.check({P0.topic: NEW})
        assert it.letters.renewed == [P0.topic]
        assert opened(it, P0, NEW, committed_of=NEW) == []


@pytest.mark.parametrize(
    "committed",
    [
        pytest.param(PartitionStart(10, encode([1, 5]), 0, 20, NEW), id="a commit of the version before"),
        pytest.param(
            PartitionStart(10, CommitMetadata(encode([1, 5]), log=UNKNOWN).text(10), 0, 20, NEW),
            id="of a time when brokers had no ids",
        ),
        pytest.param(
            PartitionStart(10, CommitMetadata(encode([1, 5]), log=NEW).text(10), 0, 20, UNKNOWN),
            id="a broker that gives no id",
        ),
        pytest.param(
            PartitionStart(10, CommitMetadata(encode([1, 5]), log=NEW).text(10), 0, 20, NEW), id="the same log"
        ),
    ],
)
async def test_a_commit_holds_unless_it_is_known_to_be_of_another_log(committed: PartitionStart) -> None:
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0, committed=committed)
        it.take(records(10, 8))
        await it.idle()
        assert handler.ran == Counter(["10", "16", "17"]), "the others were finished"
        (due,) = it.assignment.collect_commits()
        assert log_of(due.commit.metadata) == NEW, "the first commit says of which log it is"


async def test_a_commit_that_no_worker_has_made_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Parked jobs that lie before the place to which somebody moved the group never run, and nobody else says so."""
    async with rig(Handler()) as it:
        it.assignment.restore(P0, PartitionStart(10, "", 0, 20), PartitionStart(7, "", 0, 7))
        queue, retry = (line for line in caplog.messages if "by something other than a worker" in line)
        assert queue.startswith(f"{P0.topic}-{P0.partition}: offset 10 ")
        assert "no job below it runs" in queue
        assert retry.startswith(f"{P0.retry.topic}-{P0.partition}: offset 7 ")
        assert "parked below it" in retry


async def test_commits_of_workers_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async with rig(Handler()) as it:
        for theirs in (
            PartitionStart(None, "", 0, 20),
            PartitionStart(10, CommitMetadata().text(10), 0, 20),
            PartitionStart(10, "^0,1", 0, 20),
        ):
            it.assignment.restore(P0, theirs, theirs)
    assert "by something other than a worker" not in caplog.text


@pytest.mark.parametrize("place", [P0, P0.retry])
async def test_a_log_that_is_another_one_by_its_id_is_let_go(place: TopicPartition) -> None:
    """Whatever its offsets say, and although nothing is read of it; nothing more is committed for the old one."""
    gate = Handler()
    async with rig(gate) as it:
        it.open(P0, committed=PartitionStart(0, "", 0, 100, OLD))
        partition = it.assignment._partitions[P0]
        it.assignment.check({place.topic: OLD})
        it.assignment.commits_acknowledged(it.assignment.collect_commits())
        it.take(records(0, 3))
        await it.idle()
        assert it.assignment.collect_commits()
        it.assignment.check({place.topic: NEW})
        assert it.restarted == [(P0, {place: None})]
        assert it.letters.renewed == [place.topic], "whoever writes may be held up by what it knows of the old one"
        assert partition.lost
        assert not it.assignment.collect_commits()
        it.add([P0], PartitionStart(0, "", 0, 100, NEW))
        it.assignment.check({place.topic: OLD})
        assert len(it.restarted) == 1, "a broker that has not heard of it yet"


async def test_nothing_is_committed_for_a_topic_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    async with rig(Handler()) as it:
        it.open(P0, committed=PartitionStart(0, "", 0, 100, OLD))
        it.take(records(0, 3))
        await it.idle()
        it.assignment.withhold([TOPIC])
        it.assignment.withhold([TOPIC])
        assert not it.assignment.collect_commits()
        it.assignment.check({TOPIC: OLD})
        (due,) = it.assignment.collect_commits()
        assert due.commit.watermark == 3
    assert caplog.text.count("not there any more") == 1


# -- rebalances -------------------------------------------------------------------------------------------------------


async def test_a_partition_that_comes_back_in_the_next_generation_goes_on() -> None:
    handler = Handler(holds=True)
    async with rig(handler) as it:
        it.open(P0, P1, generation=5)
        it.take([record(0, "a"), record(1, "a"), record(2, "b")])
        await until(lambda: len(handler.ran) == 2)
        it.assignment.block_starts()
        assert it.assignment.reassign({P0, P2}, 6) == {P2}
        it.open(P0, P2, generation=6 + 1)
        assert it.assignment.positions()[P0] == 3
        handler.go.set()
        await it.idle()
        assert handler.ran == Counter("012")


async def test_nothing_is_kept_when_a_generation_was_missed() -> None:
    """Another worker may have owned the partition in it."""
    await check_a_missed_generation_fences(Assignment)


class KeepsWhatItHas(Assignment):
    """Every partition that is assigned again goes on, whoever had it in between."""

    def reassign(self, assigned: set[TopicPartition], generation: int) -> set[TopicPartition]:  # type: ignore[override]
        self._generation = generation - 1
        return super().reassign(assigned, generation)


async def test_keeping_after_a_missed_generation_is_found() -> None:
    with pytest.raises(AssertionError):
        await check_a_missed_generation_fences(KeepsWhatItHas)


async def check_a_missed_generation_fences(intake_type: type[Assignment]) -> None:
    handler = Handler(holds=True)
    for generation in (7, 9, 5, 3):
        async with rig(handler) as it:
            it.assignment.__class__ = intake_type
            it.open(P0, generation=5)
            old = it.assignment._partitions[P0]
            it.take(records(0, 2))
            it.assignment.block_starts()
            assert it.assignment.reassign({P0}, generation) == {P0}
            assert old.lost
            assert it.assignment.assigned == 0


async def test_what_is_not_assigned_again_is_lost_at_once() -> None:
    handler = Handler(holds=True)
    async with rig(handler) as it:
        it.open(P0, P1)
        it.take([record(0)], P0)
        it.take([record(7)], P1)
        await until(lambda: len(handler.ran) == 2)
        assert it.assignment.reassign({P1}, 2) == set()
        assert it.assignment.positions().keys() == {P1}
        assert it.assignment.pending == 1
        await until(lambda: it.executor.active == 1)


async def test_records_of_an_earlier_epoch_are_dropped_and_fetched_again() -> None:
    """They are not lost: positions move only when the assignment takes them."""
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0)
        epoch = it.assignment.epoch
        it.assignment.block_starts()
        it.open(P0, generation=2)
        it.take(records(0, 3), epoch=epoch)
        assert it.assignment.positions() == {P0: 0}
        it.take(records(0, 3))
        await it.idle()
        assert handler.ran == Counter("012")


async def test_records_of_a_partition_that_is_not_ours_are_dropped() -> None:
    async with rig(Handler()) as it:
        it.open(P0)
        it.take(records(0, 3), P1)
        assert it.assignment.pending == 0


async def test_nothing_starts_between_suspend_and_resume() -> None:
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0)
        it.assignment.block_starts()
        it.take(records(0, 3))
        await turns()
        assert not handler.ran
        it.assignment.unblock_starts()
        await it.idle()


async def test_finished_work_is_due_after_a_revocation() -> None:
    await check_revocation_keeps_what_is_finished(Assignment)


class ThrowsAcksAway(Assignment):
    """Faust's consumer clears its acks on a revocation, before it waits and commits."""

    def block_starts(self) -> None:
        super().block_starts()
        for partition in self._partitions.values():
            partition.offsets._acknowledged = partition.offsets._finished


async def test_a_revocation_that_throws_acks_away_is_found() -> None:
    """Revocation throws the acks away, so finished work runs again."""
    with pytest.raises(AssertionError):
        await check_revocation_keeps_what_is_finished(ThrowsAcksAway)


async def check_revocation_keeps_what_is_finished(intake_type: type[Assignment]) -> None:
    handler = Handler(holds=True)
    async with rig(handler) as it:
        it.assignment.__class__ = intake_type
        it.open(P0)
        it.take(records(0, 2))
        await until(lambda: len(handler.ran) == 2)
        handler.go.set()
        await it.idle()
        it.assignment.block_starts()
        assert [due.commit.watermark for due in it.assignment.collect_commits()] == [2]


async def test_quiet_is_bounded() -> None:
    await check_quiet_is_bounded(Assignment)


class WaitsForEver(Assignment):
    """Faust's `wait_empty`: no timeout, whatever the group's is."""

    async def quiet(self, timeout: float) -> bool:
        del timeout
        await self._all_quiet()
        return True


async def test_waiting_without_a_bound_is_found() -> None:
    """`wait_empty` has no timeout and hangs with unacked events."""
    with pytest.raises(asyncio.TimeoutError):
        await check_quiet_is_bounded(WaitsForEver)


async def check_quiet_is_bounded(intake_type: type[Assignment]) -> None:
    handler = Handler(holds=True)
    async with rig(handler) as it:
        it.assignment.__class__ = intake_type
        it.open(P0)
        it.take(records(0, 1))
        await until(lambda: it.executor.active)
        assert not await asyncio.wait_for(it.assignment.quiet(0.05), 1)
        assert it.executor.active == 1, "what runs is not harmed by the waiting"
        handler.go.set()
        assert await asyncio.wait_for(it.assignment.quiet(5), 6)


# -- commits ----------------------------------------------------------------------------------------------------------


async def test_a_commit_that_is_not_acknowledged_stays_due() -> None:
    await check_a_failed_commit_stays_due(Assignment)


class DropsWhatItTries(Assignment):
    """Faust pops acks before it commits them, and calls the offset committed though the broker refused it."""

    def collect_commits(self) -> list[DueCommit]:
        due = super().collect_commits()
        self.commits_acknowledged(due)
        return due


async def test_a_failed_commit_that_drops_acks_is_found() -> None:
    """A failed commit drops its acks; the committed offset is updated though refused."""
    with pytest.raises(AssertionError):
        await check_a_failed_commit_stays_due(DropsWhatItTries)


async def check_a_failed_commit_stays_due(intake_type: type[Assignment]) -> None:
    async with rig(Handler()) as it:
        it.assignment.__class__ = intake_type
        it.open(P0)
        it.take(records(0, 2))
        await it.idle()
        refused = it.assignment.collect_commits()
        assert [due.commit.watermark for due in refused] == [2]
        again = it.assignment.collect_commits()
        assert again == refused
        it.assignment.commits_acknowledged(again)
        assert it.assignment.collect_commits() == []


async def test_tells_once_that_there_is_something_to_commit() -> None:
    async with rig(Handler()) as it:
        it.open(P0)
        it.take(records(0, 5))
        await it.idle()
        assert it.asked.commits == 1
        acknowledge(it.assignment)
        it.take(records(5, 5))
        await it.idle()
        assert it.asked.commits == 2


async def test_only_partitions_with_news_are_due() -> None:
    async with rig(Handler()) as it:
        it.open(P0, P1, P2)
        it.take(records(0, 2), P0)
        it.take(records(0, 3), P2)
        await it.idle()
        assert {due.tp: due.commit.watermark for due in acknowledge(it.assignment)} == {P0: 2, P2: 3}
        assert it.assignment.collect_commits() == []


async def test_an_answer_for_a_lost_assignment_says_nothing_of_the_next() -> None:
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0, generation=1)
        it.take(records(0, 3))
        await it.idle()
        late = it.assignment.collect_commits()
        it.open(P1, generation=2)
        it.open(P0, generation=3)
        it.take(records(0, 1))
        await it.idle()
        it.assignment.commits_acknowledged(late)
        assert [due.commit.watermark for due in it.assignment.collect_commits()] == [1]


# -- the flow ---------------------------------------------------------------------------------------------------------


async def test_partitions_share_a_queues_limits() -> None:
    async with rig(Handler(), limit_jobs=100, limit_bytes=1000) as it:
        it.open(P0)
        assert limits(it) == {P0: (100, 1000)}
        it.open(P0, P1, P2, generation=2)
        assert limits(it) == dict.fromkeys([P0, P1, P2], (33, 333))
        it.open(P2, generation=3)
        assert limits(it) == {P2: (100, 1000)}


async def test_every_partition_may_hold_something() -> None:
    async with rig(Handler(), limit_jobs=2, limit_bytes=2) as it:
        it.open(*(TopicPartition(TOPIC, number) for number in range(5)))
        assert set(limits(it).values()) == {(1, 1)}


def limits(it: Rig) -> dict[TopicPartition, tuple[int, int]]:
    return {tp: (part.limit_jobs, part.limit_bytes) for tp, part in it.assignment._partitions.items()}


async def test_a_partition_is_read_on_until_it_is_full_and_again_when_it_has_room() -> None:
    handler = Handler(holds=True)
    async with rig(handler, limit_jobs=8) as it:
        it.open(P0)
        it.take(records(0, 7))
        assert it.reopened == [P0]
        it.take(records(7, 1))
        assert it.reopened == [P0]
        assert it.assignment.is_closed(P0)
        handler.go.set()
        await it.idle()
        assert it.reopened == [P0, P0]
        assert not it.assignment.is_closed(P0)


async def test_one_full_partition_leaves_the_others_open() -> None:
    handler = Handler(holds=True)
    async with rig(handler, limit_jobs=8) as it:
        it.open(P0, P1)
        it.take(records(0, 4), P0)
        it.take(records(0, 1), P1)
        assert it.reopened == [P1]
        assert [it.assignment.is_closed(tp) for tp in (P0, P1)] == [True, False]


async def test_a_full_map_opens_again_by_a_commit() -> None:
    """Room for the map is known only when a commit was made: its acknowledgement opens the partition."""
    handler = Handler(holds=True)
    async with rig(handler, limit_jobs=1_000_000, limit_bytes=10**9, concurrency=1) as it:
        it.open(P0)
        it.take(records(0, 2))
        partition = it.assignment._partitions[P0]
        partition.offsets.map_headroom = 1
        it.take(records(2, 1))
        assert it.assignment.is_closed(P0)
        partition.offsets._finished += 1
        acknowledge(it.assignment)
        assert not it.assignment.is_closed(P0)
        assert it.reopened == [P0, P0]


async def test_a_full_partition_that_is_lost_is_forgotten() -> None:
    handler = Handler(holds=True)
    async with rig(handler, limit_jobs=1) as it:
        it.open(P0)
        it.take(records(0, 1))
        assert it.assignment.is_closed(P0)
        it.open(P1, generation=2)
        it.open(P0, P1, generation=3)
        assert not it.assignment.is_closed(P0)
        handler.go.set()
        await turns()
        assert P0 not in it.reopened


async def test_a_queue_with_enough_to_run_is_read_on_when_it_is_hungry() -> None:
    handler = Handler(holds=True)
    async with rig(handler, concurrency=2, limit_jobs=100_000, limit_bytes=10**9) as it:
        it.open(P0, P1)
        it.take(records(0, ENOUGH + 10), P0)
        assert it.reopened == []
        assert it.assignment.is_closed(P0)
        assert not it.assignment.is_closed(P1)
        handler.go.set()
        await it.idle()
        assert it.reopened == [P0]
        assert not it.assignment.is_closed(P0)


async def test_a_partition_that_waits_and_is_lost_is_not_read() -> None:
    handler = Handler(holds=True)
    async with rig(handler, concurrency=2, limit_jobs=100_000, limit_bytes=10**9) as it:
        it.open(P0, P1)
        it.take(records(0, ENOUGH + 10), P0)
        it.open(P1, generation=2)
        assert it.reopened == []
        it.open(P0, P1, generation=3)
        assert not it.assignment.is_closed(P0)


async def test_progress_of_a_lost_partition_opens_nothing() -> None:
    async with rig(Handler(), limit_jobs=1) as it:
        it.open(P0)
        partition: WorkPartition = it.assignment._partitions[P0]
        it.open(P1, generation=2)
        it.assignment.progressed(partition)
        assert it.reopened == []


async def test_a_batch_is_a_value() -> None:
    batch = Batch(P0, 1, records(0, 1))
    with pytest.raises(AttributeError):
        batch.epoch = 2  # type: ignore[misc]
    assert tuple(P0) == (TOPIC, 0)


async def test_a_large_backlog_comes_through_in_order(caplog: pytest.LogCaptureFixture) -> None:
    """Fetching as the consumer does: when a partition is open, from its position, in batches."""
    caplog.set_level(logging.WARNING)
    order: dict[str, list[int]] = {}

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        order.setdefault(ctx.key or "", []).append(int(job.event))
        await asyncio.sleep(0)

    log = records(0, 3000, [f"k{n}" for n in range(17)])
    async with rig(handler, concurrency=7, limit_jobs=100) as it:
        it.open(P0)
        it.reopened.append(P0)
        while (position := it.assignment.positions()[P0]) < len(log):
            await until(lambda: it.reopened)
            it.reopened.clear()
            it.take(log[position : position + 50])
            assert it.assignment.pending <= 150
            acknowledge(it.assignment)
        await it.idle()
        acknowledge(it.assignment)
        assert it.assignment.collect_commits() == []
    assert sorted(offset for each in order.values() for offset in each) == list(range(3000))
    assert all(each == sorted(each) for each in order.values())
    assert not caplog.records


async def test_a_refresh_commits_what_is_unchanged() -> None:
    async with rig(Handler()) as it:
        it.open(P0)
        assert not it.assignment.collect_commits()
        it.assignment.refresh()
        assert {due.tp for due in it.assignment.collect_commits()} == {P0, P0.retry}


@pytest.mark.parametrize(("owner", "suspected"), [(1, False), (2, True)])
async def test_a_worker_that_gets_its_partition_back_knows_that_nobody_has_died(owner: int, suspected: bool) -> None:
    """Its last commit may say that jobs were running, since the group went on without it; but it lives."""

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        """Nothing is to run."""

    async with rig(handler) as it:
        it.open(P0)
        it.assignment.reassign([], 2)
        it.assignment.reassign([P0], 4)
        retries = PartitionStart(0, f"^0,{owner}~1", 0, 0)
        partition = it.assignment.restore(P0, PartitionStart(0, "~1,3!0", 0, 10), retries)
        assert partition.crashes.has_suspects is suspected
        assert (partition.offsets.crash_record.start_mode(3) is not StartMode.FREE) is suspected
