"""The queues and handlers that our worker runs in the benchmarks (STREAMS_JOBS=tests.benchmarks.jobs)."""

from __future__ import annotations

import asyncio
import os
import time
from array import array
from zlib import crc32

from schemas.models.email import SendEmail
from streams import Fixed, JobContext, Queue, RetryPolicy
from tests.benchmarks.names import (
    COUNTED,
    FAILING_KEY,
    FAILING_PERCENT,
    HEAL_KEY,
    HELLO_KEY,
    HOT_IS_ILL,
    HOT_KEY,
    ILL_KEY,
    TIMED_KEY,
    UNGUARDED,
    WAIT,
    WAITS,
)
from tests.benchmarks.tally import Tally, report
from tests.benchmarks.unguarded import without_guard

# A pool is a consumer group, so a run in a pool of its own reads its topics from the start.
_POOL = os.environ.get("STREAMS_POOL", "default")
_RETRY = RetryPolicy(max_attempts=10_000, backoff=Fixed(0.1), jitter="none")
SLEEP_SECONDS = 0.02

noop_jobs = Queue("noop", partitions=4, pool=_POOL)
sleep_jobs = Queue("sleep", partitions=1, pool=_POOL)
latency_jobs = Queue("latency", partitions=4, pool=_POOL, retry=_RETRY)
failing_jobs = Queue("failing", partitions=4, pool=_POOL, retry=_RETRY)
waiting_jobs = Queue(
    "waiting",
    partitions=24,
    pool=_POOL,
    retry=RetryPolicy(max_attempts=2, backoff=Fixed(float(os.environ.get(WAIT, "1"))), jitter="none"),
)
punctual_jobs = Queue("punctual", partitions=4, pool=_POOL)
soaking_jobs = Queue(
    "soaking", partitions=4, pool=_POOL, retry=RetryPolicy(max_attempts=10_000, backoff=Fixed(10), jitter="none")
)
hot_jobs = Queue("hot", partitions=1, pool=_POOL, retry=_RETRY)

if os.environ.get(UNGUARDED) == "1":
    without_guard()

_tally = Tally()
_waits: list[int] = []
_failing = int(os.environ.get(FAILING_PERCENT, "0"))


class Unlucky(Exception):
    """What a job raises that is to fail."""


@noop_jobs.job(SendEmail)
async def do_nothing(job: SendEmail, ctx: JobContext) -> None:
    """Count."""
    _tally.end()


@sleep_jobs.job(SendEmail)
async def sleep(job: SendEmail, ctx: JobContext) -> None:
    """Wait, as for a service that answers after 20 ms."""
    _tally.start()
    await asyncio.sleep(SLEEP_SECONDS)
    _tally.end()


@latency_jobs.job(SendEmail)
async def note_latency(job: SendEmail, ctx: JobContext) -> None:
    """Note how long ago the job was published; its subject says when, on the clock that all processes share.

    Jobs of keys that fail are counted, and not noted.
    """
    if (ctx.key or "").startswith(FAILING_KEY):
        if ctx.attempt == 0:
            raise Unlucky("the first attempt fails")
    else:
        _note_wait(job)
    _tally.start()
    _tally.end(waits_ns=_waits)


@failing_jobs.job(SendEmail)
async def fail_some(job: SendEmail, ctx: JobContext) -> None:
    """Count, but for a share of the jobs at their first attempt: their number decides, whatever their key."""
    if crc32(job.subject.encode()) % 100 < _failing and ctx.attempt == 0:
        raise Unlucky("the first attempt fails")
    _tally.end()


_due = array("d", bytes(8 * 100_000))


@waiting_jobs.job(SendEmail)
async def fail_once(job: SendEmail, ctx: JobContext) -> None:
    """Fail, and when it comes back note how late that is."""
    number = int(job.subject)
    if ctx.attempt == 0:
        # The worker takes the time a moment later.
        _due[number] = time.time() + float(os.environ[WAIT])
        raise Unlucky("the first attempt fails")
    _waits.append(int((time.time() - _due[number]) * 1e9))
    _tally.end(waits_ns=_waits)


@punctual_jobs.job(SendEmail)
async def note_lateness(job: SendEmail, ctx: JobContext) -> None:
    """Note how late a delayed job starts."""
    _tally.start()
    if ctx.scheduled_for is not None:
        _waits.append(int((time.time() - ctx.scheduled_for.timestamp()) * 1e9))
    _tally.end(waits_ns=_waits)


class Soak:
    """Counts what is done and what fails, and tells about once a second."""

    def __init__(self) -> None:
        self.done = self.failed = self._told = 0

    def tell(self) -> None:
        """Tell it where a second is over since it was told."""
        now = time.monotonic_ns()
        if now - self._told >= 1_000_000_000:
            self._told = now
            report(at=now, done=self.done, failed=self.failed)


_soak = Soak()


@soaking_jobs.job(SendEmail)
async def run_or_fail(job: SendEmail, ctx: JobContext) -> None:
    """Succeed, but for a key that is ill."""
    if (ctx.key or "").startswith(ILL_KEY):
        _soak.failed += 1
        raise Unlucky("the key is ill")
    _soak.done += 1
    if _soak.done % 100 == 0:
        _soak.tell()


class HotKey:
    """A key whose first job may fail until a job of another key heals it; its jobs must come in order."""

    def __init__(self) -> None:
        self.ill = os.environ.get(HOT_IS_ILL) == "1"
        self._next = 0

    def run(self, number: int) -> None:
        """Run the job of this number."""
        if self.ill:
            raise Unlucky("the key is ill")
        if number != self._next:
            report(fault=f"job {number} of the hot key came where {self._next} was to")
        self._next = number + 1


_hot = HotKey()
_counted = os.environ.get(COUNTED, "")
_enough_waits = int(os.environ.get(WAITS, "0"))


@hot_jobs.job(SendEmail)
async def run_hot(job: SendEmail, ctx: JobContext) -> None:
    """Do what the key says; count the jobs of the counted key."""
    key = ctx.key or ""
    if key == HELLO_KEY:
        report(at=time.monotonic_ns())
    elif key == HEAL_KEY:
        _hot.ill = False
    elif key.startswith(TIMED_KEY):
        _note_wait(job)
        if len(_waits) == _enough_waits:
            report(waits_ns=_waits)
    else:
        if key == HOT_KEY:
            _hot.run(int(job.subject))
        if _counted in ("", key) and (_counted or key != HOT_KEY):
            _tally.end()


def _note_wait(job: SendEmail) -> None:
    _waits.append(time.monotonic_ns() - int(job.subject))
