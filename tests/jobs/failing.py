"""Queues whose jobs fail as often as their header `fails` says, or once as their queue has it, and then succeed."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from streams import Exponential, Fixed, JobContext, PermanentError, Queue, Retry, RetryPolicy, Snooze
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

#: Of what is tried again at once: this is about what counts as a failure.
AT_ONCE = RetryPolicy(max_attempts=3, backoff=Fixed(0), jitter="none")

on_loop = Queue("failing-loop", partitions=2, retry=AT_ONCE)
in_process = Queue("failing-process", partitions=2, concurrency=2, retry=AT_ONCE)
#: Seconds, on the loop and in a process, which has more to do before it begins.
TIMEOUT, PROCESS_TIMEOUT = 1.5, 5.0

#: Longer than any timeout.
FOR_EVER = 600.0

# What a pool's process does is the worker's doing.
os.environ.setdefault(ledger.PROCESS, str(os.getpid()))


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


@on_loop.job(Step, timeout=TIMEOUT)
async def once_on_loop(job: Step, ctx: JobContext) -> None:
    """Take too long, the first time."""
    with noted(ctx.id, ctx.key, job.seq, ctx.attempt):
        if ctx.attempt == 0:
            await asyncio.sleep(FOR_EVER)


@in_process.job(Step, timeout=PROCESS_TIMEOUT, cpu_bound=True)
def once_in_process(job: Step, ctx: JobContext) -> None:
    """Take too long the first time, or end the process where the header `ends` says so."""
    with noted(ctx.id, ctx.key, job.seq, ctx.attempt):
        if ctx.attempt == 0:
            if ctx.headers.get("ends"):
                os._exit(7)
            time.sleep(FOR_EVER)
