"""A queue whose jobs fail as often as their header `fails` says, and then succeed."""

from __future__ import annotations

import asyncio

from streams import Exponential, JobContext, PermanentError, Queue, RetryPolicy
from tests.ledger import noted
from tests.models.ordered import Step

#: More than any test waits for in vain, and short enough to wait for.
POLICY = RetryPolicy(max_attempts=5, backoff=Exponential(first=0.3, factor=2), jitter="none")

failing = Queue("failing", partitions=6, retry=POLICY)
loose = Queue("loose", partitions=6, retry=POLICY, order="none")


class Unlucky(Exception):
    """What a job raises whose time has not come."""


@failing.job(Step)
async def step(job: Step, ctx: JobContext) -> None:
    """Wait as long as the job says, and fail if it is to."""
    await _step(job, ctx)


@loose.job(Step)
async def loose_step(job: Step, ctx: JobContext) -> None:
    """Wait as long as the job says, and fail if it is to."""
    await _step(job, ctx)


async def _step(job: Step, ctx: JobContext) -> None:
    fails = int(ctx.headers.get("fails") or b"0")
    with noted(ctx.id, ctx.key, job.seq, ctx.attempt):
        await asyncio.sleep(job.seconds)
        if fails < 0:
            raise PermanentError("it never will")
        if ctx.attempt < fails:
            raise Unlucky(f"attempt {ctx.attempt} of {fails} that fail")
