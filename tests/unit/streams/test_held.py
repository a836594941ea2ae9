"""Jobs that fail and come back soon: nothing is written for them, unless their partition may go to another worker."""

from __future__ import annotations

import asyncio
from typing import Any

from schemas.models.webhook import DeliverWebhook
from streams.core.retry.backoff import Fixed
from streams.core.retry.policy import RetryPolicy
from tests.unit.streams.rig import P0, TOPIC, Rig, record, records, rig, until

RETRY, DEAD = f"{TOPIC}.retry", f"{TOPIC}.dead"


def policy(wait: float, attempts: int = 3) -> RetryPolicy:
    return RetryPolicy(max_attempts=attempts, backoff=Fixed(wait), jitter="none")


def headers_of(it: Rig, topic: str, place: int = 0) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in it.letters.to(topic)[place].headers}


class Failing:
    """Fails at the first attempts of jobs whose event begins with "bad", and notes what ran."""

    def __init__(self, attempts: int = 1) -> None:
        self.attempts = attempts
        self.ran: list[tuple[str, int]] = []

    async def __call__(self, job: DeliverWebhook, ctx: Any) -> None:
        self.ran.append((job.event, ctx.attempt))
        if job.event.startswith("bad") and ctx.attempt < self.attempts:
            raise ValueError("not yet")


async def test_what_comes_back_soon_is_not_written_and_its_key_waits() -> None:
    handle = Failing(attempts=2)
    async with rig(handle.__call__, retry=policy(0.01), retry_hold=60) as it:
        it.open(P0)
        it.take([record(0, "k", "bad"), record(1, "k"), record(2, "other")])
        await it.idle()
        assert [each for each in handle.ran if each[0] != "2"] == [("bad", 0), ("bad", 1), ("bad", 2), ("1", 0)]
        assert it.letters.sent == []
        assert it.assignment.positions() == {P0: 3}


async def test_what_fails_for_good_is_a_dead_letter_with_all_its_attempts() -> None:
    handle = Failing(attempts=9)
    async with rig(handle.__call__, retry=policy(0.01), retry_hold=60) as it:
        it.open(P0)
        it.take([record(0, "k", "bad"), record(1, "k")])
        await it.idle()
        assert [record.topic for record in it.letters.sent] == [DEAD]
        assert headers_of(it, DEAD)["job-attempt"] == "3"
        assert handle.ran[-1] == ("1", 0)


async def test_what_comes_back_late_is_written_with_its_failure_and_what_waits_behind_it() -> None:
    handle = Failing()
    async with rig(handle.__call__, retry=policy(60), retry_hold=2) as it:
        it.open(P0)
        it.take([record(0, "k", "bad"), record(1, "k")])
        await until(lambda: len(it.letters.to(RETRY)) == 2)
        headers = headers_of(it, RETRY)
        assert (headers["job-attempt"], headers["job-error-message"]) == ("1", "not yet")


async def test_before_a_partition_may_leave_failures_are_written_and_run_here_only_then() -> None:
    """Of a key that waits for its time, and of one whose time has come while the only runner is busy."""
    handle, busy = Failing(), asyncio.Event()

    async def run(job: DeliverWebhook, ctx: Any) -> None:
        await handle(job, ctx)
        if job.event == "busy":
            await busy.wait()

    async with rig(run, retry=policy(0.02), retry_hold=60, concurrency=1) as it:
        it.open(P0)
        it.take([record(0, "a", "bad 0"), record(1, "b", "bad 1"), record(2, "c", "busy"), record(3, "a")])
        await until(lambda: ("busy", 0) in handle.ran)
        await until(lambda: it.executor._lanes.startable)
        it.letters.open.clear()
        it.assignment.block_starts()
        busy.set()
        assert not await it.assignment.quiet(0.05), "the broker has not acknowledged them"
        it.assignment.unblock_starts()
        await asyncio.sleep(0.05)
        assert [each for each in handle.ran if each[1]] == [], "what is being written does not run"
        it.letters.open.set()
        await it.idle()
        assert [headers_of(it, RETRY, place)["job-attempt"] for place in (0, 1)] == ["1", "1"]
        assert [headers_of(it, RETRY, place)["job-error-message"] for place in (0, 1)] == ["not yet", "not yet"]
        assert len(it.letters.to(RETRY)) == 2, "the one that waits behind is the queue's still"
        assert sorted(each for each in handle.ran if each[1]) == [("bad 0", 1), ("bad 1", 1)]


async def test_what_fails_while_its_partition_may_leave_is_written() -> None:
    handle, begun, end = Failing(), asyncio.Event(), asyncio.Event()

    async def run(job: DeliverWebhook, ctx: Any) -> None:
        begun.set()
        await end.wait()
        await handle(job, ctx)

    async with rig(run, retry=policy(0.01), retry_hold=60) as it:
        it.open(P0)
        it.take([record(0, "k", "bad")])
        await begun.wait()
        it.assignment.block_starts()
        end.set()
        assert await it.assignment.quiet(20)
        assert headers_of(it, RETRY)["job-attempt"] == "1"
        it.assignment.unblock_starts()
        it.take([record(1, "l", "bad")])
        await it.idle()
        assert len(it.letters.to(RETRY)) == 1, "once it stays, what fails is held again"


async def test_a_partition_that_holds_too_much_writes_it() -> None:
    handle = Failing(attempts=1)
    async with rig(handle.__call__, retry=policy(0.5), retry_hold=60, limit_jobs=40) as it:
        it.open(P0)
        it.take([record(0, "k", "bad")])
        await until(lambda: handle.ran)
        it.take(records(1, 39, ["k"]))
        await until(lambda: len(it.letters.to(RETRY)) == 40)
        await it.idle()
        assert [event for event, _ in handle.ran] == ["bad", "bad", *map(str, range(1, 40))]
