"""Jobs that reach their queue before they are due: each is moved to where delayed jobs wait, and never runs early."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from producers.routing.topics import queue_topic
from schemas.headers import (
    DelayedJob,
    Headers,
    Origin,
    RetryState,
    delayed_until,
    read_delayed,
    when_due,
    with_retry,
)
from schemas.models.webhook import DeliverWebhook
from streams.core.partition.parked_job import ParkedJob
from streams.core.partition.restore import Written
from streams.core.retry.backoff import Fixed
from streams.core.retry.policy import RetryPolicy
from streams.ports.events import JobInfo, JobListener
from streams.ports.records import OutgoingRecord, PartitionStart
from tests.unit.streams.rig import P0, P1, TOPIC, Fetched, Rig, job, record, rig, turns, until

SCHEDULED, RETRY, DEAD = "jobs.scheduled", f"{TOPIC}.retry", f"{TOPIC}.dead"
HOUR_MS = 3_600_000


def now_ms() -> int:
    return int(time.time() * 1000)


def not_before(due_ms: int) -> tuple[str, bytes]:
    return "job-not-before", b"%d" % due_ms


def early(offset: int, key: str | None = None, *, due_ms: int | None = None, headers: Headers = ()) -> Fetched:
    """A job that is due in an hour, unless another time is given."""
    due_ms = now_ms() + HOUR_MS if due_ms is None else due_ms
    return record(offset, key, headers=[*headers, not_before(due_ms)])


def moved(it: Rig) -> list[DelayedJob]:
    """What the records say that were written to where delayed jobs wait."""
    return [read_delayed(each.key or b"", each.headers) for each in it.letters.to(SCHEDULED)]


def headers_of(sent: OutgoingRecord) -> dict[str, bytes | None]:
    return dict(sent.headers)


class Handler:
    """Notes what runs, and fails at the first run of jobs whose event begins with "bad"."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def __call__(self, job: DeliverWebhook, ctx: Any) -> None:
        self.ran.append(job.event)
        if job.event.startswith("bad") and self.ran.count(job.event) == 1:
            raise ValueError("not yet")


def retries_after(seconds: float) -> RetryPolicy:
    return RetryPolicy(max_attempts=3, backoff=Fixed(seconds), jitter="none")


# -- moved, and not run -----------------------------------------------------------------------------------------------


async def test_a_job_that_is_early_is_moved_and_not_run() -> None:
    handler = Handler()
    due_ms = now_ms() + HOUR_MS
    waits = early(0, "customer-7", due_ms=due_ms, headers=[("ce_id", b"job-1"), ("tenant", b"7")])
    async with rig(handler) as it:
        it.open(P0)
        it.take([waits])
        await it.idle()
        (sent,) = it.letters.sent
        assert it.assignment.collect_commits()[0].commit.watermark == 1
    assert handler.ran == []
    assert (sent.topic, sent.key, sent.value) == (SCHEDULED, b"job-1", waits.value)
    assert sent.partition is None, "its id says where it waits, as it does for whoever looks for it"
    assert sent.headers == [
        ("ce_id", b"job-1"),
        ("tenant", b"7"),
        ("job-not-before", b"%d" % due_ms),
        ("job-queue", b"webhook"),
        ("job-key", b"customer-7"),
        ("job-moved-from", b"jobs.webhook/0/0@0"),
    ]


async def test_a_job_without_key_and_id_waits_under_its_place() -> None:
    """By which it is known if it is moved twice, since its worker has died in between."""
    handler = Handler()
    due_ms = now_ms() + HOUR_MS
    async with rig(handler) as it:
        it.open(P0, P1)
        it.take([early(3, due_ms=due_ms)], P1)
        await it.idle()
        origin = b"jobs.webhook/1/3@0"
        assert moved(it) == [DelayedJob(b"jobs.webhook-1-3", "webhook", None, due_ms, origin)]
    assert handler.ran == []


async def test_where_a_job_was_first_published_stays() -> None:
    async with rig(Handler()) as it:
        it.open(P0)
        it.take([early(0, headers=[("job-origin", b"jobs.other/5/9")])])
        await it.idle()
        (sent,) = it.letters.sent
        assert [value for name, value in sent.headers if name == "job-origin"] == [b"jobs.other/5/9"]
        assert sent.key == b"jobs.other-5-9"


async def test_what_was_moved_runs_when_it_comes_back() -> None:
    """With its payload, its key and its headers."""
    seen: list[tuple[str, str | None, str]] = []

    async def handler(job: DeliverWebhook, ctx: Any) -> None:
        seen.append((job.event, ctx.key, ctx.id))

    async with rig(handler) as it:
        it.open(P0)
        it.take([early(0, "k")])
        await it.idle()
        (sent,) = it.letters.sent
        (waits,) = moved(it)
        assert queue_topic("jobs", waits.queue) == TOPIC
        it.take([Fetched(1, waits.key, sent.value, when_due(waits, sent.headers, waits.due_ms))])
        await it.idle()
        assert it.letters.sent == [sent], "it is not moved again, although its time has not come in fact"
    assert seen == [("0", "k", "jobs.webhook-0-0")]


@pytest.mark.parametrize("due_ms", [0, 1, 1_767_225_600_123])
async def test_a_job_whose_time_has_come_runs(due_ms: int) -> None:
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0)
        it.take([early(0, "k", due_ms=due_ms)])
        await it.idle()
        assert it.letters.sent == []
    assert handler.ran == ["0"]


async def test_a_job_that_is_nearly_due_is_moved_all_the_same() -> None:
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0)
        it.take([early(0, due_ms=now_ms() + 2_000)])
        await it.idle()
        assert len(moved(it)) == 1
    assert handler.ran == []


async def test_others_run_meanwhile_and_in_their_order() -> None:
    handler = Handler()
    async with rig(handler, concurrency=1) as it:
        it.open(P0)
        it.take([record(0, "k"), early(1, "k"), record(2, "k"), early(3), record(4)])
        await it.idle()
        assert sorted(each.id for each in moved(it)) == [b"jobs.webhook-0-1", b"jobs.webhook-0-3"]
        assert it.assignment.positions() == {P0: 5}
    assert sorted(handler.ran) == ["0", "2", "4"]
    assert [event for event in handler.ran if event != "4"] == ["0", "2"]


class Listener(JobListener):
    """Keeps what it is told of jobs."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def started(self, job: JobInfo) -> None:
        self.told.append(f"started {job.id}")

    def done(self, job: JobInfo, seconds: float) -> None:
        self.told.append(f"done {job.id}")

    def failed(self, job: JobInfo, *_: object) -> None:
        self.told.append(f"failed {job.id}")

    def parked(self, job: JobInfo, *_: object) -> None:
        self.told.append(f"parked {job.id}")

    def dead(self, job: JobInfo, *_: object) -> None:
        self.told.append(f"dead {job.id}")


async def test_a_job_that_is_moved_has_neither_run_nor_failed(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener()
    async with rig(Handler(), retry=retries_after(0.01), listeners=[listener]) as it:
        it.open(P0)
        it.take([early(0, "k"), record(1, "k")])
        await it.idle()
        assert [sent.topic for sent in it.letters.sent] == [SCHEDULED]
        assert not it.failures
    assert listener.told == ["started jobs.webhook-0-1", "done jobs.webhook-0-1"]
    assert [entry for entry in caplog.records if entry.name == "streams.outcome"] == []


# -- finished when that is written ------------------------------------------------------------------------------------


async def test_a_job_is_finished_only_when_it_is_written_where_it_waits() -> None:
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0)
        it.letters.open.clear()
        it.take([early(0, "k"), record(1, "k"), record(2, "other")])
        await until(lambda: handler.ran == ["2"])
        await turns(200)
        assert it.assignment.pending == 2
        assert [due.commit.watermark for due in it.assignment.collect_commits()] in ([], [0])
        assert handler.ran == ["2"], "what is behind it in its key waits"
        it.letters.open.set()
        await it.idle()
        assert it.assignment.collect_commits()[0].commit.watermark == 3
    assert handler.ran == ["2", "1"]


async def test_who_waits_for_the_end_of_all_work_waits_for_what_is_moved() -> None:
    async with rig(Handler()) as it:
        it.open(P0)
        it.letters.open.clear()
        it.take([early(0)])
        await until(lambda: not it.executor.active)
        quiet = asyncio.create_task(it.executor.quiet())
        await turns()
        assert not quiet.done()
        it.letters.open.set()
        await quiet
        await it.idle()


async def test_what_is_on_its_way_as_its_partition_is_lost_is_not_finished() -> None:
    """It is moved once more by the next owner, under the same id."""
    async with rig(Handler()) as it:
        it.open(P0)
        partition = it.assignment._partitions[P0]
        it.letters.open.clear()
        it.take([early(0)])
        await turns()
        it.open(P1, generation=2)
        it.letters.open.set()
        await asyncio.wait_for(it.executor.quiet(), 20)
        await turns()
        assert partition.lost
        assert partition.offsets.pending == 1


# -- what comes first -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"", b"soon", b"-1", b"1" * 19, None])
async def test_a_time_that_cannot_be_read_makes_a_dead_letter(value: bytes | None) -> None:
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0)
        it.take([record(0, headers=[("job-not-before", value)])])
        await it.idle()
        assert [sent.topic for sent in it.letters.sent] == [DEAD]
        assert it.letters.header("job-error-type") == ["schemas.errors.HeaderInvalid"]
    assert handler.ran == []


async def test_a_job_that_has_expired_already_does_not_wait_first() -> None:
    async with rig(Handler()) as it:
        it.open(P0)
        it.take([early(0, headers=[("job-expires-at", b"1000")])])
        await it.idle()
        assert [sent.topic for sent in it.letters.sent] == [DEAD]
        assert it.letters.header("job-error-type") == ["streams.errors.JobExpired"]


async def test_a_job_that_expires_later_waits_with_its_expiry() -> None:
    expires = b"%d" % (now_ms() + 2 * HOUR_MS)
    async with rig(Handler()) as it:
        it.open(P0)
        it.take([early(0, headers=[("job-expires-at", expires)])])
        await it.idle()
        assert headers_of(it.letters.sent[0])["job-expires-at"] == expires


# -- behind a key that fails ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", [0.0, 60.0], ids=["written", "held"])
async def test_a_job_behind_a_failing_one_is_not_early_either(hold: float) -> None:
    handler = Handler()
    due_ms = now_ms() + HOUR_MS
    async with rig(handler, retry=retries_after(0.05), retry_hold=hold) as it:
        it.open(P0)
        it.take([record(0, "k", "bad"), early(1, "k", due_ms=due_ms), record(2, "k")])
        await it.idle()
        assert moved(it) == [DelayedJob(b"jobs.webhook-0-1", "webhook", b"k", due_ms, b"jobs.webhook/0/1@0")]
        diverted = [sent for sent in it.letters.to(RETRY) if headers_of(sent)["job-origin"] == b"jobs.webhook/0/1"]
        assert [delayed_until(sent.headers) for sent in diverted] == ([] if hold else [due_ms])
        assert not it.assignment.parked
        assert it.assignment.positions() == {P0: 3}
    assert handler.ran == ["bad", "bad", "2"]


@pytest.mark.parametrize("hold", [0.0, 60.0], ids=["written", "held"])
async def test_a_job_that_falls_due_behind_a_failing_one_runs_in_its_turn(hold: float) -> None:
    handler = Handler()
    async with rig(handler, retry=retries_after(0.3), retry_hold=hold) as it:
        it.open(P0)
        it.take([record(0, "k", "bad")])
        await until(lambda: handler.ran)
        it.take([early(1, "k", due_ms=now_ms() + 100), record(2, "k")])
        await it.idle()
        assert moved(it) == []
    assert handler.ran == ["bad", "bad", "1", "2"]


async def test_a_parked_job_is_finished_only_when_it_is_written_where_it_waits() -> None:
    handler = Handler()
    async with rig(handler, retry=retries_after(0.05)) as it:
        it.open(P0)
        it.take([record(0, "k", "bad"), early(1, "k"), record(2, "k")])
        await until(lambda: len(it.letters.to(RETRY)) == 3)
        it.letters.open.clear()
        await until(lambda: handler.ran.count("bad") == 2)
        await turns(200)
        assert it.assignment.parked == 2
        assert handler.ran == ["bad", "bad"]
        it.letters.open.set()
        await it.idle()
    assert handler.ran == ["bad", "bad", "2"]


async def test_who_takes_over_a_parked_job_does_not_run_it_early() -> None:
    """And runs at once what has run before: when its retry was due is no delay."""
    handler = Handler()
    due_ms = now_ms() + HOUR_MS
    untried, tried = early(0, "a", due_ms=due_ms), early(1, "b", due_ms=due_ms)
    fell_due = early(2, "c", due_ms=1)
    async with rig(handler) as it:
        take_over(it, (untried, 0), (tried, 1), (fell_due, 0))
        await it.idle()
        (waits,) = moved(it)
        assert (waits.id, waits.due_ms, waits.key) == (b"jobs.webhook-0-0", due_ms, b"a")
        assert waits.moved_from == b"jobs.webhook/0/0@0"
        assert [sent.topic for sent in it.letters.sent] == [SCHEDULED]
    assert sorted(handler.ran) == ["1", "2"]


def take_over(it: Rig, *parked: tuple[Fetched, int]) -> None:
    """Get a partition in whose retry log are jobs that another worker has written, with their attempts."""
    entries: list[tuple[ParkedJob[Any], Written]] = []
    for offset, (each, attempt) in enumerate(parked):
        origin = Origin(TOPIC, 0, each.offset)
        state = RetryState(each.offset, attempt, now_ms() if attempt else 0)
        headers = with_retry(each.headers, origin=origin, state=state, failure=None, now_ms=now_ms())
        stored = Fetched(offset, each.key, each.value, headers)
        entry = ParkedJob(stored, each.offset, attempt=attempt, due_ms=state.due_ms, retry_offset=offset)
        entries.append((entry, Written(0)))
    it.assignment.reassign([P0], 1)
    start = PartitionStart(None, "", len(parked), len(parked))
    partition = it.assignment.restore(P0, start, PartitionStart(None, "", 0, len(parked)))
    partition.load(entries)
    partition.start(len(parked))
    it.assignment.start({P0: partition})
    it.assignment.unblock_starts()


# -- follow-ups -------------------------------------------------------------------------------------------------------


async def test_a_follow_up_with_a_delay_waits_before_its_job_is_finished() -> None:
    async def handler(this: DeliverWebhook, ctx: Any) -> None:
        ctx.publish(job("next"), key="k", id="follow-up", delay=3600)

    before = now_ms()
    async with rig(handler) as it:
        it.open(P0)
        it.letters.open.clear()
        it.take([record(0)])
        await turns(200)
        assert it.assignment.pending == 1
        it.letters.open.set()
        await it.idle()
        (waits,) = moved(it)
        assert (waits.id, waits.queue, waits.key) == (b"follow-up", "webhook", b"k")
        assert before + HOUR_MS <= waits.due_ms <= now_ms() + HOUR_MS
        assert it.letters.header("job-parent") == ["jobs.webhook-0-0"]


@pytest.mark.parametrize("name", [b"schedule/daily", b"command/x"])
async def test_an_id_that_no_delayed_job_may_have_makes_a_dead_letter(name: bytes) -> None:
    handler = Handler()
    async with rig(handler) as it:
        it.open(P0)
        it.take([early(0, headers=[("ce_id", name)])])
        await it.idle()
        assert [sent.topic for sent in it.letters.sent] == [DEAD]
        assert "begin with command/" in str(headers_of(it.letters.sent[0])["job-error-message"])


async def test_a_job_that_nobody_knows_yet_waits_for_its_time_first() -> None:
    async with rig(Handler()) as it:
        it.open(P0)
        unknown = early(0, headers=[("ce_id", b"job-1")])
        it.take([replace(unknown, value=b"\xc3\x01" + bytes(8))])
        await it.idle()
        (waits,) = moved(it)
        assert waits.id == b"job-1"
        assert [sent.topic for sent in it.letters.sent] == [SCHEDULED]
