"""The queues and handlers that our worker runs in the benchmarks (STREAMS_JOBS=tests.benchmarks.jobs)."""

from __future__ import annotations

import asyncio
import os
import time

from schemas.models.email import SendEmail
from streams import JobContext, Queue
from tests.benchmarks.tally import Tally

# A pool is a consumer group, so a run in a pool of its own reads its topics from the start.
_POOL = os.environ.get("STREAMS_POOL", "default")
SLEEP_SECONDS = 0.02

noop_jobs = Queue("noop", partitions=4, pool=_POOL)
sleep_jobs = Queue("sleep", partitions=1, pool=_POOL)
latency_jobs = Queue("latency", partitions=4, pool=_POOL)

_tally = Tally()
_waits: list[int] = []


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
    """Note how long ago the job was published; its subject says when, on the clock that all processes share."""
    _waits.append(time.monotonic_ns() - int(job.subject))
    _tally.start()
    _tally.end(waits_ns=_waits)
