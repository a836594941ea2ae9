"""Who hears of what happens to jobs, what that costs where nobody listens, and that no listener harms the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from schemas.models.webhook import DeliverWebhook
from streams.api.context import JobContext
from streams.core.retry.backoff import Fixed
from streams.core.retry.failure import Failure
from streams.core.retry.policy import RetryPolicy
from streams.ports.events import JobEvents, JobInfo, JobListener
from streams.ports.records import TopicPartition
from tests.unit.streams.rig import P0, P1, record, records, rig


class Journal(JobListener):
    """Writes down all that it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def started(self, job: JobInfo) -> None:
        self.heard.append(("started", job.id, job.attempt))

    def done(self, job: JobInfo, seconds: float) -> None:
        self.heard.append(("done", job.id, int(seconds)))

    def failed(self, job: JobInfo, failure: Failure, seconds: float) -> None:
        self.heard.append(("failed", job.id, failure.error_type))

    def parked(self, job: JobInfo, failure: Failure, seconds: float, wait: float, made: int) -> None:
        self.heard.append(("parked", job.id, made, round(wait, 1)))

    def dead(self, job: JobInfo, failure: Failure, seconds: float) -> None:
        self.heard.append(("dead", job.id, job.attempt))

    def finished(self, tp: TopicPartition) -> None:
        self.heard.append(("finished", tp))

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        self.heard.append(("assigned", *partitions))

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        self.heard.append(("revoked", *partitions))

    def committed(self, watermarks: Mapping[TopicPartition, int]) -> None:
        self.heard.append(("committed", *watermarks.items()))

    def of(self, *names: str) -> list[tuple[Any, ...]]:
        return [each for each in self.heard if each[0] in names]


class Broken(JobListener):
    """Fails whatever it hears of."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def started(self, job: JobInfo) -> None:
        raise self.error

    def done(self, job: JobInfo, seconds: float) -> None:
        raise self.error

    def failed(self, job: JobInfo, failure: Failure, seconds: float) -> None:
        raise self.error

    def dead(self, job: JobInfo, failure: Failure, seconds: float) -> None:
        raise self.error

    def finished(self, tp: TopicPartition) -> None:
        raise self.error

    def tick(self, now: float) -> None:
        raise self.error


async def fails(job: DeliverWebhook, ctx: JobContext) -> None:
    if job.event == "bad":
        raise ValueError("no")


async def test_a_job_that_succeeds_is_started_and_done_and_finishes_something() -> None:
    journal = Journal()
    async with rig(fails, listeners=[journal]) as it:
        it.open(P0)
        it.take([record(0, "a")])
        await it.idle()
        assert journal.of("started", "done", "finished", "failed", "dead") == [
            ("started", "jobs.webhook-0-0", 0),
            ("done", "jobs.webhook-0-0", 0),
            ("finished", P0),
        ]


async def test_a_job_that_fails_is_parked_and_dead_in_the_end() -> None:
    journal = Journal()
    policy = RetryPolicy(max_attempts=2, backoff=Fixed(0.03), jitter="none")
    async with rig(fails, retry=policy, listeners=[journal]) as it:
        it.open(P0)
        it.take([record(0, "a", "bad")])
        await it.idle()
        name = "jobs.webhook-0-0"
        assert journal.of("started", "done", "failed", "parked", "dead") == [
            ("started", name, 0),
            ("failed", name, "ValueError"),
            ("parked", name, 1, 0.0),
            ("started", name, 1),
            ("failed", name, "ValueError"),
            ("dead", name, 1),
        ]
        assert journal.of("finished") == [("finished", P0)] * 2, "when it is parked, and in the end"


async def test_what_is_no_job_fails_without_a_start() -> None:
    journal = Journal()
    async with rig(fails, listeners=[journal]) as it:
        it.open(P0)
        it.take([record(0, headers=[("job-attempt", b"-1")])])
        await it.idle()
        assert [each[0] for each in journal.of("started", "failed", "dead")] == ["failed", "dead"]


async def test_partitions_come_and_go_and_are_committed() -> None:
    journal = Journal()
    async with rig(fails, listeners=[journal]) as it:
        it.open(P0, P1)
        it.take(records(0, 3), P0)
        await it.idle()
        it.assignment.commits_acknowledged(it.assignment.collect_commits())
        it.open(P1, generation=2)
        (assigned, *revoked) = journal.of("assigned", "revoked")
        assert set(assigned[1:]) == {P0, P1}
        assert revoked == [("revoked", P0)]
        assert ("committed", (P0, 3)) in journal.heard


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), asyncio.CancelledError()], ids=repr)
async def test_a_listener_that_fails_harms_neither_jobs_nor_other_listeners(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal()
    async with rig(fails, concurrency=1, listeners=[Broken(error), journal]) as it:
        it.open(P0)
        it.take([*records(0, 50), record(50, "a", "bad"), record(51, "a")])
        await it.idle()
        assert len(journal.of("done")) == 51
        assert len(journal.of("dead")) == 1
        assert len(it.letters.sent) == 1
        assert not it.failures
    told = [message for message in caplog.messages if "has failed, and is told of the next event" in message]
    assert "Broken.done has failed, and is told of the next event all the same" in told
    assert len(told) == len(set(told)), "one line for each kind of event"


def test_what_nobody_has_overridden_is_no_event() -> None:
    class DoneOnly(JobListener):
        def done(self, job: JobInfo, seconds: float) -> None:
            """Hear of it."""

    events = JobEvents([DoneOnly(), JobListener()])
    assert events.done is not None
    others = {name for name in JobEvents.__slots__ if name != "done"}
    assert {getattr(events, name) for name in others} == {None}
    assert all(getattr(JobEvents(), name) is None for name in JobEvents.__slots__)
    assert set(JobEvents.__slots__) == {name for name in vars(JobListener) if not name.startswith("_")}
