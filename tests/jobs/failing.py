"""Queues whose jobs fail as often as their header `fails` says, or come back as `says` says, and then succeed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from streams import Exponential, JobContext, PermanentError, Queue, Retry, RetryPolicy, Snooze
from tests import ledger
from tests.ledger import noted
from tests.models.ordered import Step

#: More than any test waits for in vain, and short enough to wait for.
POLICY = RetryPolicy(max_attempts=5, backoff=Exponential(first=0.3, factor=2), jitter="none")

failing = Queue("failing", partitions=6, retry=POLICY)
loose = Queue("loose", partitions=6, retry=POLICY, order="none")

#: Seconds that a handler asks for itself: not those of the policy.
RETRY_IN, SNOOZE_IN = 0.9, 0.7
#: More than a restart takes, and than it takes until a killed worker's partitions have another owner.
LATER_IN = 25.0

_WAITS = {b"retry": RETRY_IN, b"retry later": LATER_IN}


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
        _say(ctx)
        if fails < 0:
            raise PermanentError("it never will")
        if ctx.attempt < fails:
            raise Unlucky(f"attempt {ctx.attempt} of {fails} that fail")


def _say(ctx: JobContext) -> None:
    """Ask for another run, once, where the header `says` wants it."""
    says = ctx.headers.get("says")
    if says in _WAITS and ctx.attempt == 0:
        raise Retry(in_=_WAITS[says])
    # A snooze counts no attempt, so that only a file tells the first run from the next.
    if says == b"snooze" and _first_time(ctx.id):
        raise Snooze(in_=SNOOZE_IN)


def _first_time(job: str) -> bool:
    try:
        (Path(os.environ[ledger.DIRECTORY]).parent / f"once-{job}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
