"""The executor on a real event loop: order per key, concurrency, cuts, and that every job comes to an outcome."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import Counter, defaultdict
from typing import Any

import pytest

from schemas.models.webhook import DeliverWebhook
from streams.api.context import JobContext
from streams.core.partition.partition import QueuePartition
from streams.core.retry.backoff import Fixed
from streams.core.retry.policy import RetryPolicy
from streams.errors import PermanentError, Snooze
from streams.ports.records import WorkLane, WorkPartition
from streams.worker.admission.start_block import StartBlock
from streams.worker.executor import ENOUGH
from streams.worker.job_run import JobRuns
from streams.worker.runner import Runner
from tests.unit.streams.rig import P0, P1, TOPIC, Fetched, job, record, records, rig, turns, until


class Gate:
    """A handler that waits until the test lets its job go, and knows who runs."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []
        self._gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def __call__(self, job: DeliverWebhook, ctx: JobContext) -> None:
        self.started.append(job.event)
        try:
            await self._gates[job.event].wait()
        finally:
            self.ended.append(job.event)

    @property
    def running(self) -> set[str]:
        return set(self.started) - set(self.ended)

    def let(self, *events: str) -> None:
        for event in events:
            self._gates[event].set()


# -- order and concurrency --------------------------------------------------------------------------------------------


async def test_jobs_of_a_key_run_in_order_and_never_overlap() -> None:
    running: Counter[str] = Counter()
    order: defaultdict[str, list[int]] = defaultdict(list)
    together = 0

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        nonlocal together
        key = ctx.key or ""
        running[key] += 1
        assert running[key] == 1
        together = max(together, running.total())
        order[key].append(int(job.event))
        for _ in range(int(job.event) % 7):
            await asyncio.sleep(0)
        running[key] -= 1

    async with rig(handler, concurrency=8) as it:
        it.open(P0)
        for start in range(0, 600, 200):
            it.take(records(start, 200, ["a", "b", "c", "d", "e"]))
        await it.idle()
        assert not it.letters.sent
    assert sorted(offset for offsets in order.values() for offset in offsets) == list(range(600))
    assert all(offsets == sorted(offsets) for offsets in order.values())
    assert together == 5


async def test_keys_run_side_by_side_up_to_the_concurrency() -> None:
    gate = Gate()
    async with rig(gate, concurrency=3) as it:
        it.open(P0)
        it.take(records(0, 10))
        await until(lambda: len(gate.running) == 3)
        await turns()
        assert gate.running == {"0", "1", "2"}
        assert it.executor.active == 3
        gate.let("1")
        await until(lambda: "3" in gate.running)
        assert gate.running == {"0", "2", "3"}
        gate.let(*map(str, range(10)))
        await it.idle()
    assert Counter(gate.started) == Counter(map(str, range(10)))


async def test_a_key_that_waits_does_not_hold_others_back() -> None:
    gate = Gate()
    async with rig(gate) as it:
        it.open(P0)
        it.take([record(0, "slow"), record(1, "slow"), record(2, "quick"), record(3, "quick"), record(4)])
        gate.let("2", "3", "4")
        await until(lambda: it.assignment.pending == 2)
        assert gate.running == {"0"}
        gate.let("0", "1")
        await it.idle()


async def test_no_task_is_made_for_a_job() -> None:
    made = 0

    def count_tasks(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        nonlocal made
        made += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        if int(job.event) % 3 == 0:
            await asyncio.sleep(0)

    async with rig(handler, concurrency=16, limit_jobs=5000) as it:
        it.open(P0)
        asyncio.get_running_loop().set_task_factory(count_tasks)
        for start in range(0, 2000, 500):
            it.take(records(start, 500))
        await it.idle()
        assert made <= 16
        asyncio.get_running_loop().set_task_factory(None)


async def test_jobs_that_never_wait_let_the_loop_turn() -> None:
    ticks: list[float] = []

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        time.sleep(0.001)  # noqa: ASYNC251 - work, not waiting

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0)

    async with rig(handler) as it:
        it.open(P0)
        ticking = asyncio.create_task(tick())
        it.take(records(0, 300))
        await it.idle()
        ticking.cancel()
    # 300 ms of work in slices of 5 ms. A loaded machine makes fewer and longer ones.
    assert len(ticks) > 20, f"{len(ticks)} turns"


# -- outcomes ---------------------------------------------------------------------------------------------------------


class Odd(Exception):
    """Cannot even be printed."""

    def __str__(self) -> str:
        raise ValueError("no words")


FAILURES = [
    ValueError("no such user"),
    ValueError(""),
    ValueError("\n"),
    asyncio.CancelledError("by the handler"),
    TimeoutError(),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit("by the handler"),
    StopIteration(),
    MemoryError(),
    BaseException("rare"),
    Odd(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "\ud800"),
    Exception("lone surrogate \ud800"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("waits", [False, True])
async def test_whatever_a_handler_raises_is_a_dead_letter_and_the_work_goes_on(
    failure: BaseException, waits: bool
) -> None:
    """Faust acks a failed event in `finally` and forgets it."""

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        if waits:
            await asyncio.sleep(0)
        if job.event == "bad":
            raise failure

    async with rig(handler, concurrency=1) as it:
        it.open(P0)
        it.take([record(0, "a", "bad"), record(1, "a"), record(2, "a", "bad"), record(3, "b")])
        await until(lambda: not it.assignment.pending, within=5)
        assert [letter.topic for letter in it.letters.sent] == [f"{P0.topic}.dead"] * 2
        assert it.letters.header("job-origin") == ["jobs.webhook/0/0", "jobs.webhook/0/2"]
        assert it.letters.header("job-error-type") == [name_of(failure)] * 2
        assert it.assignment.collect_commits()[0].commit.watermark == 4


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_whatever_a_plain_function_raises_is_a_dead_letter(failure: BaseException) -> None:
    def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        if job.event == "bad":
            raise failure

    async with rig(handler, concurrency=1) as it:
        it.open(P0)
        it.take([record(0, "a", "bad"), record(1, "a")])
        await until(lambda: not it.assignment.pending, within=5)
        assert it.letters.header("job-origin") == ["jobs.webhook/0/0"]


def name_of(failure: BaseException) -> str:
    kind = type(failure)
    if kind is StopIteration:  # a coroutine cannot raise it: PEP 479
        return "RuntimeError"
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


@pytest.mark.parametrize(
    ("bad", "error_type"),
    [
        (Fetched(0, b"a", None), "schemas.errors."),
        (Fetched(0, b"a", b""), "schemas.errors."),
        (Fetched(0, b"a", b"\xc3\x01garbage"), "schemas.errors."),
        (record(0, "a", headers=[("job-attempt", b"-1")]), "schemas.errors.HeaderInvalid"),
        (record(0, "a", headers=[("job-expires-at", b"1000")]), "streams.errors.JobExpired"),
    ],
    ids=["null", "empty", "garbage", "header", "expired"],
)
async def test_what_cannot_be_opened_is_a_dead_letter_with_the_raw_value(bad: Fetched, error_type: str) -> None:
    """Faust acks what it cannot decode, then throws the error into the agent."""
    ran = []

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        ran.append(job.event)

    async with rig(handler) as it:
        it.open(P0)
        it.take([bad, record(1, "a")])
        await it.idle()
        (letter,) = it.letters.sent
        assert (letter.key, letter.value, letter.partition) == (b"a", bad.value, 0)
        assert it.letters.header("job-error-type")[0].startswith(error_type)
    assert ran == ["1"]


async def test_a_header_that_has_no_effect_yet_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    earlier = str(int(time.time() * 1000) - 1).encode()

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        pass

    async with rig(handler) as it:
        it.open(P0)
        it.take([record(0, headers=[("job-not-before", earlier)])])
        it.take([record(at, headers=[("job-dedup-key", b"x")]) for at in range(1, 4)])
        await it.idle()
        assert not it.letters.sent
    (told,) = [message for message in caplog.messages if "has no effect yet" in message]
    assert "job jobs.webhook-0-1 of queue 'webhook' has the header job-dedup-key" in told


async def test_a_job_is_finished_only_when_its_dead_letter_is_written() -> None:
    """An ack for a job whose failure nobody has seen loses it."""
    await check_nothing_finishes_before_its_outcome()


async def test_an_ack_in_finally_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception or a cancellation in an agent acks the event: put back, the check above finds it."""
    run = JobRuns.run

    async def acks_in_finally(
        self: JobRuns, runner: Runner, lane: WorkLane, partition: WorkPartition, started: float
    ) -> float:
        """Faust's agent: whatever became of the event, its ack is in a `finally`."""
        runner.task = asyncio.current_task()
        task = asyncio.ensure_future(run(self, runner, lane, partition, started))
        await turns(5)
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return time.monotonic()

    monkeypatch.setattr(JobRuns, "run", acks_in_finally)
    with pytest.raises(AssertionError):
        await check_nothing_finishes_before_its_outcome()


async def check_nothing_finishes_before_its_outcome() -> None:
    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        raise ValueError("no")

    async with rig(handler) as it:
        it.open(P0)
        it.letters.open.clear()
        it.take([record(0, "a"), record(1, "a")])
        await turns(200)
        assert it.assignment.pending == 2
        assert it.assignment.collect_commits() == []
        it.letters.open.set()
        await it.idle()
        assert it.letters.header("job-origin") == ["jobs.webhook/0/0", "jobs.webhook/0/1"]


async def test_a_job_is_finished_only_when_its_follow_ups_are_written() -> None:
    async def handler(this: DeliverWebhook, ctx: JobContext) -> None:
        ctx.publish(job("next"), key="k", id="follow-up")

    async with rig(handler) as it:
        it.open(P0)
        it.letters.open.clear()
        it.take([record(0, "a")])
        await turns(200)
        assert it.assignment.pending == 1
        it.letters.open.set()
        await it.idle()
        (sent,) = it.letters.sent
        assert (sent.topic, sent.key) == ("jobs.webhook", b"k")
        assert it.letters.header("ce_id") == ["follow-up"]
        assert it.letters.header("job-parent") == ["jobs.webhook-0-0"]


async def test_a_handler_that_fails_publishes_nothing() -> None:
    async def handler(this: DeliverWebhook, ctx: JobContext) -> None:
        ctx.publish(job("next"))
        raise ValueError("after all")

    async with rig(handler) as it:
        it.open(P0)
        it.take([record(0)])
        await it.idle()
        assert [letter.topic for letter in it.letters.sent] == ["jobs.webhook.dead"]


async def test_a_follow_up_that_cannot_be_published_fails_its_job() -> None:
    async def handler(this: DeliverWebhook, ctx: JobContext) -> None:
        ctx.publish(job(event=7))  # type: ignore[arg-type]

    async with rig(handler) as it:
        it.open(P0)
        it.take([record(0)])
        await it.idle()
        assert it.letters.header("job-error-type") == ["schemas.errors.PayloadInvalid"]


# -- timeouts ---------------------------------------------------------------------------------------------------------


async def test_a_run_that_takes_too_long_is_cancelled() -> None:
    gate = Gate()
    async with rig(gate, timeout=0.05, concurrency=1) as it:
        it.open(P0)
        gate.let("1")
        it.take([record(0, "a"), record(1, "a")])
        await it.idle()
        assert it.letters.header("job-error-type") == ["streams.errors.JobTimeout"]
    assert gate.ended == ["0", "1"]


async def test_a_run_that_is_quick_enough_is_not_cancelled_later() -> None:
    gate = Gate()
    async with rig(gate, timeout=0.2, concurrency=1) as it:
        it.open(P0)
        gate.let("0")
        it.take([record(0)])
        await it.idle()
        await asyncio.sleep(0.3)
        gate.let("1")
        it.take([record(1)])
        await it.idle()
        assert not it.letters.sent


async def test_a_header_overrides_the_timeout() -> None:
    gate = Gate()
    async with rig(gate, timeout=600) as it:
        it.open(P0)
        it.take([record(0, headers=[("job-timeout-ms", b"50")])])
        await it.idle()
        assert it.letters.header("job-error-type") == ["streams.errors.JobTimeout"]


async def test_a_handler_that_swallows_its_cancellation_and_returns_has_succeeded() -> None:
    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        if job.event == "0":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return
        await asyncio.sleep(0.01)

    async with rig(handler, timeout=0.05, concurrency=1) as it:
        it.open(P0)
        it.take(records(0, 3))
        await it.idle()
        assert not it.letters.sent


async def test_a_cancellation_turned_into_another_error_keeps_that_error() -> None:
    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            raise ValueError("rolled back") from error

    async with rig(handler, timeout=0.05, concurrency=1) as it:
        it.open(P0)
        it.take(records(0, 2))
        await it.idle()
        assert it.letters.header("job-error-type") == ["ValueError", "ValueError"]


async def test_a_thread_that_takes_too_long_is_left_behind() -> None:
    go_on = threading.Event()

    def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        if job.event == "0":
            go_on.wait(20)

    async with rig(handler, timeout=0.1, concurrency=1) as it:
        it.open(P0)
        it.take(records(0, 2))
        await it.idle()
        assert it.letters.header("job-error-type") == ["streams.errors.JobTimeout"]
        assert it.threads.left_behind == 1
        go_on.set()
        await until(lambda: it.threads.left_behind == 0)


# -- rebalances -------------------------------------------------------------------------------------------------------


async def test_hold_starts_nothing_and_release_goes_on() -> None:
    gate = Gate()
    async with rig(gate, concurrency=2) as it:
        it.open(P0)
        it.take(records(0, 6))
        await until(lambda: len(gate.running) == 2)
        it.executor.block(StartBlock.REBALANCE)
        gate.let(*map(str, range(6)))
        await it.executor.quiet()
        await turns()
        assert len(gate.started) == 2
        it.executor.unblock(StartBlock.REBALANCE)
        await it.idle()
    assert Counter(gate.started) == Counter(map(str, range(6)))


async def test_quiet_waits_for_what_runs_and_for_nothing_else() -> None:
    gate = Gate()
    async with rig(gate) as it:
        await asyncio.wait_for(it.executor.quiet(), 5)
        it.open(P0)
        it.take(records(0, 2))
        await until(lambda: len(gate.running) == 2)
        waiting = [asyncio.create_task(it.executor.quiet()) for _ in range(2)]
        waiting[0].cancel()
        gate.let("0")
        await until(lambda: gate.running == {"1"})
        assert not waiting[1].done()
        gate.let("1")
        await asyncio.wait_for(waiting[1], 5)


async def test_runs_of_a_lost_partition_are_cancelled_and_never_finish() -> None:
    gate = Gate()
    async with rig(gate, concurrency=4) as it:
        it.open(P0, P1)
        it.take(records(0, 4, ["a", "b"]), P0)
        it.take([record(10, "c")], P1)
        await until(lambda: len(gate.running) == 3)
        partition = it.assignment._partitions[P0]
        it.open(P1, generation=2)
        await until(lambda: gate.running == {"10"})
        await turns()
        assert partition.offsets.pending == 4
        assert not partition.offsets.dirty
        assert not it.letters.sent
        assert set(gate.started) == {"0", "1", "10"}
        gate.let("10")
        await it.idle()


async def test_nothing_is_finished_by_a_record_that_shows_that_its_retry_topic_was_made_anew() -> None:
    """The partition is opened again then, and reads the new log whole."""

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        raise ValueError("no")

    async with rig(handler, retry=RetryPolicy(max_attempts=3, backoff=Fixed(0.2), jitter="none")) as it:
        failures = it.failures
        it.open(P0)
        it.take([record(0, "a")])
        await until(lambda: it.assignment.parked == 1)
        partition = it.assignment._partitions[P0]
        it.letters.ends.clear()
        it.take([record(1, "b")])
        await until(lambda: it.restarted)
        assert it.restarted == [(P0, {P0.retry: None})]
        assert not failures
        assert partition.lost
        assert partition.offsets.watermark == 1, "its job is unfinished, and is read again"


async def test_the_time_of_the_first_failure_stays() -> None:
    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        raise ValueError("no")

    policy = RetryPolicy(max_attempts=3, backoff=Fixed(0.02), jitter="none")
    async with rig(handler, retry=policy) as it:
        it.open(P0)
        it.take([record(0, "a"), record(1, "a")])
        await it.idle()
        for key in ("0", "1"):
            records = [
                one for one in it.letters.sent if dict(one.headers)["job-origin"] == f"jobs.webhook/0/{key}".encode()
            ]
            times = [dict(one.headers).get("job-first-failed-at") for one in records]
            failed = [time for time in times if time is not None]
            assert len(failed) == 3, "two retries and a letter; what was diverted untried has not failed"
            assert len(set(failed)) == 1
            last = [
                int(dict(one.headers).get("job-last-failed-at") or 0) for one in records if one.topic.endswith("dead")
            ]
            assert last[0] > int(failed[0])


async def test_a_dead_letter_of_a_lost_partition_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """The broker may get it all the same: the job is its new owner's, and no outcome of this worker's."""

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        ran.append(job.event)
        raise ValueError("no")

    ran: list[str] = []
    async with rig(handler, concurrency=1) as it:
        it.open(P0)
        it.letters.open.clear()
        it.take([record(0, "a"), record(1, "a")])
        await until(lambda: ran == ["0"])
        it.open(P1, generation=2)
        await asyncio.wait_for(it.executor.quiet(), 20)
        it.letters.open.set()
        it.take([record(5)], P1)
        await it.idle()
        assert ran == ["0", "5"], "nothing of the lost partition goes on"
    (said,) = [entry.getMessage() for entry in caplog.records if entry.name == "streams.outcome"]
    assert "jobs.webhook-1-5" in said


async def test_a_dead_letter_that_cannot_be_written_holds_its_key_and_nothing_else() -> None:
    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        if job.event == "bad":
            raise ValueError("no")
        ran.append(job.event)

    ran: list[str] = []
    async with rig(handler, concurrency=2) as it:
        it.open(P0)
        it.letters.open.clear()
        bad = [record(offset, f"bad-{offset}", "bad") for offset in range(20)]
        behind = [record(offset, f"bad-{offset - 20}", "behind") for offset in range(20, 40)]
        it.take([*bad, *behind, *(record(offset, "good", "good") for offset in range(40, 60))])
        await until(lambda: len(ran) == 20)
        assert set(ran) == {"good"}
        await turns()
        assert it.assignment.pending == 40
        quiet = asyncio.create_task(it.executor.quiet())
        await turns()
        assert not quiet.done(), "who waits for the end of all work waits for the letters"
        it.letters.open.set()
        await it.idle()
        await quiet
        assert ran[20:] == ["behind"] * 20
        assert len(it.letters.sent) == 20


async def test_a_lost_run_that_will_not_be_cancelled_does_not_count() -> None:
    """It swallows the cancellation and goes on to the end: its partition is another worker's by then."""
    go_on = asyncio.Event()

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    async with rig(handler, concurrency=1) as it:
        it.open(P0)
        it.take(records(0, 2))
        await until(lambda: it.executor.active)
        partition = it.assignment._partitions[P0]
        it.open(P1, generation=2)
        await turns()
        go_on.set()
        await until(lambda: not it.executor.active)
        it.take([record(5)], P1)
        await it.idle()
        assert partition.offsets.pending == 2
        assert it.executor.active == 0


async def test_a_lost_run_that_fails_leaves_no_dead_letter() -> None:
    """The job runs again on another worker, and may well succeed there."""

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            raise ValueError("rolled back") from error

    async with rig(handler, concurrency=1) as it:
        it.open(P0)
        it.take([record(0, "a"), record(1, "a")])
        await until(lambda: it.executor.active)
        it.open(P1, generation=2)
        await until(lambda: not it.executor.active)
        await turns()
        assert not it.letters.sent


async def test_a_cancelled_run_that_fails_while_we_stop_leaves_no_dead_letter() -> None:
    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            raise ValueError("rolled back") from error

    async with rig(handler) as it:
        it.open(P0)
        it.take([record(0, "a"), record(1, "a")])
        await until(lambda: it.executor.active)
        it.assignment.block_starts()
        await it.executor.stop()
        assert it.assignment.pending == 2
        assert not it.letters.sent


async def test_a_handler_that_cancels_its_own_task_harms_its_own_job_only() -> None:
    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        if job.event == "bad":
            task = asyncio.current_task()
            assert task
            task.cancel()
        await asyncio.sleep(0)

    async with rig(handler, concurrency=1) as it:
        it.open(P0)
        it.take([record(0, "a", "bad"), record(1, "a"), record(2, "b", "bad"), record(3, "b")])
        await it.idle()
        assert it.letters.header("job-origin") == ["jobs.webhook/0/0", "jobs.webhook/0/2"]


async def test_a_handler_that_cancels_its_own_task_and_returns() -> None:
    """The cancellation is still on its way when the job is done."""

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        if job.event == "bad":
            task = asyncio.current_task()
            assert task
            task.cancel()

    async with rig(handler, concurrency=1) as it:
        it.open(P0)
        it.take([record(0, "a", "bad"), *records(1, 20)])
        await it.idle()
        assert not it.letters.sent, "the others are none of its business"


@pytest.mark.parametrize("later", [0.0, 0.01])
async def test_a_handler_that_cancels_its_own_task_when_it_has_returned(later: float) -> None:
    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        task = asyncio.current_task()
        assert task
        if job.event == "bad":
            asyncio.get_running_loop().call_later(later, task.cancel)
            cancelled.append(task)

    cancelled: list[asyncio.Task[Any]] = []
    async with rig(handler, concurrency=1) as it:
        failures = it.failures
        it.open(P0)
        for offset in range(0, 10, 2):
            it.take([record(offset, "a", "bad")])
            await it.idle()
            await asyncio.sleep(0.02)  # Its runner rests, and is cancelled there.
            it.take([record(offset + 1, "a")])
            await it.idle()
        assert len(set(cancelled)) == 1, "it is the runner that they all shared"
        assert not failures
        assert not it.letters.sent


async def test_a_follow_up_that_comes_too_late_is_refused() -> None:
    """Nobody would publish it, and nobody would know."""

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        asyncio.get_running_loop().call_soon(publish, ctx)

    def publish(ctx: JobContext) -> None:
        try:
            ctx.publish(job("late"))
        except RuntimeError as error:
            refused.append(str(error))

    refused: list[str] = []
    async with rig(handler) as it:
        it.open(P0)
        it.take([record(0, "a", headers=[("ce_id", b"job-1")])])
        await it.idle()
        await until(lambda: refused)
    assert refused == [
        "job job-1 has ended, so this follow-up would never be published: publish before the handler returns"
    ]


async def test_stop_cancels_what_runs_and_finishes_nothing() -> None:
    gate = Gate()
    async with rig(gate, concurrency=2) as it:
        it.open(P0)
        it.take(records(0, 4))
        await until(lambda: len(gate.running) == 2)
        it.assignment.block_starts()
        await it.executor.stop()
        assert not gate.running
        assert it.executor.active == 0
        assert it.assignment.pending == 4
        assert it.assignment.collect_commits() == []
        assert not it.letters.sent


@pytest.mark.parametrize("count", [1, 50])
@pytest.mark.parametrize("ticks", [0, 1, 2, 3, 10])
async def test_stop_leaves_no_runner_behind(count: int, ticks: int) -> None:
    gate = Gate()
    async with rig(gate, concurrency=20) as it:
        before = asyncio.all_tasks()
        it.open(P0)
        it.take(records(0, count))
        await turns(ticks)
        it.assignment.block_starts()
        await it.executor.stop()
        assert asyncio.all_tasks() == before
        await asyncio.wait_for(it.executor.quiet(), 5)


# -- how full it is ---------------------------------------------------------------------------------------------------


async def test_a_satiated_executor_tells_once_when_it_is_hungry() -> None:
    gate = Gate()
    async with rig(gate, concurrency=1, limit_jobs=100_000) as it:
        told = it.reopened
        it.open(P0)
        assert not it.executor.check_and_arm_hungry()
        it.take(records(0, ENOUGH + 2))
        await until(lambda: gate.running)
        assert it.assignment.is_closed(P0)
        assert not told
        gate.let(*map(str, range(ENOUGH + 2)))
        await it.idle()
        assert len(told) == 1
        assert not it.executor.check_and_arm_hungry()


# -- handlers that hand back work -------------------------------------------------------------------------------------


async def _sends(job: DeliverWebhook) -> None: ...


async def returns_a_coroutine(job: DeliverWebhook, ctx: JobContext) -> Any:
    return _sends(job)


async def returns_a_task(job: DeliverWebhook, ctx: JobContext) -> Any:
    return asyncio.ensure_future(_sends(job))


async def returns_a_generator(job: DeliverWebhook, ctx: JobContext) -> Any:
    return (each for each in [1])


def in_a_thread(job: DeliverWebhook, ctx: JobContext) -> Any:
    return _sends(job)


@pytest.mark.parametrize("handler", [returns_a_coroutine, returns_a_task, returns_a_generator, in_a_thread])
async def test_a_handler_that_hands_back_unfinished_work_has_failed(handler: Any) -> None:
    async with rig(handler) as it:
        it.open(P0)
        it.take([record(0)])
        await it.idle()
        assert it.letters.header("job-error-type") == ["streams.errors.DefinitionError"]
        assert "so its work was not done" in it.letters.header("job-error-message")[0]


async def test_what_else_a_handler_returns_is_no_failure() -> None:
    async def handler(job: DeliverWebhook, ctx: JobContext) -> str:
        return "whatever"

    async with rig(handler) as it:
        it.open(P0)
        it.take([record(0)])
        await it.idle()
        assert not it.letters.sent


async def test_a_snooze_ends_at_its_deadline_also_where_records_have_no_time() -> None:
    runs = 0

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        nonlocal runs
        runs += 1
        raise Snooze(0.02)

    policy = RetryPolicy(backoff=Fixed(0), deadline=0.2)
    async with rig(handler, retry=policy) as it:
        it.open(P0)
        it.take([record(0, "a")])
        await it.idle()
        (letter,) = it.letters.to(f"{TOPIC}.dead")
    assert "deadline of 0.2 s" in dict(letter.headers)["job-error-message"].decode()
    assert runs > 1


async def test_failures_in_a_task_group_count_for_what_they_are() -> None:
    runs: list[str] = []

    async def part(event: str) -> None:
        if event == "permanent":
            raise PermanentError("never again")
        if runs.count("snooze") == 1:
            raise Snooze(0, reason="closed")

    async def handler(job: DeliverWebhook, ctx: JobContext) -> None:
        runs.append(job.event)
        assert ctx.attempt == 0
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(part(job.event))

    async with rig(handler, retry=RetryPolicy(backoff=Fixed(0))) as it:
        it.open(P0)
        it.take([record(0, event="permanent"), record(1, event="snooze")])
        await it.idle()
        (letter,) = it.letters.to(f"{TOPIC}.dead")
    assert "PermanentError: never again" in dict(letter.headers)["job-error-message"].decode()
    assert "PermanentError is never retried" in dict(letter.headers)["job-error-message"].decode()
    assert sorted(runs) == ["permanent", "snooze", "snooze"]


def _partitions() -> set[int]:
    """The partitions that somebody holds, in this test or one before it."""
    gc.collect()
    return {id(each) for each in gc.get_objects() if type(each) is QueuePartition}


async def test_a_partition_that_is_lost_is_held_by_no_runner_that_rests() -> None:
    """Some rest for hours: with what was parked in it a partition may be megabytes."""

    async def fails(job: DeliverWebhook, ctx: JobContext) -> None:
        raise ValueError

    before = _partitions()
    async with rig(fails, retry=RetryPolicy(backoff=Fixed(3000))) as it:
        it.open(P0)
        it.take(records(0, 50, [f"key-{number}" for number in range(50)]))
        await until(lambda: it.assignment.parked == 50)
        it.assignment.block_starts()
        it.assignment.reassign([], 3)
        it.assignment.start({})
        await turns()
        assert _partitions() <= before
