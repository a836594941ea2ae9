"""Queues whose jobs end as their header `plan` says, a letter for each attempt: see tests.chaos.plan."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import NoReturn

from streams import Exponential, JobContext, PermanentError, Queue, Retry, RetryPolicy, Snooze
from tests import ledger
from tests.chaos.plan import (
    BACKOFF,
    CRASH_CODE,
    FACTOR,
    MAX_ATTEMPTS,
    PROCESS_TIMEOUT,
    RETRY_IN,
    SNOOZE,
    TIMEOUT,
    Letter,
    Plan,
    numbered,
)
from tests.models.ordered import Step

POLICY = RetryPolicy(max_attempts=MAX_ATTEMPTS, backoff=Exponential(first=BACKOFF, factor=FACTOR), jitter="none")

in_order = Queue("chaos", partitions=6, retry=POLICY)
threads = Queue("chaos-thread", partitions=3, retry=POLICY)
processes = Queue("chaos-process", partitions=3, retry=POLICY)
loose = Queue("chaos-loose", partitions=3, retry=POLICY, order="none")

#: Longer than any timeout.
_FOR_EVER = 60.0

# What a pool's process does is the worker's doing, and dies with it.
os.environ.setdefault(ledger.PROCESS, str(os.getpid()))


class Unlucky(Exception):
    """What a job raises whose time has not come."""


@in_order.job(Step, timeout=TIMEOUT)
@loose.job(Step, timeout=TIMEOUT)
async def on_loop(job: Step, ctx: JobContext) -> None:
    """Wait as long as the job says, and end as it is planned."""
    with ledger.noted(numbered(ctx.id, _redrives(ctx)), ctx.key, job.seq, ctx.attempt):
        await asyncio.sleep(job.seconds)
        letter = _letter(ctx)
        if letter is Letter.TIMEOUT:
            await asyncio.sleep(_FOR_EVER)
        _end(letter, ctx)


@threads.job(Step, timeout=_FOR_EVER)
@processes.job(Step, timeout=PROCESS_TIMEOUT, cpu_bound=True)
def off_loop(job: Step, ctx: JobContext) -> None:
    """Wait as long as the job says, and end as it is planned."""
    with ledger.noted(numbered(ctx.id, _redrives(ctx)), ctx.key, job.seq, ctx.attempt):
        time.sleep(job.seconds)
        letter = _letter(ctx)
        if letter is Letter.TIMEOUT:
            time.sleep(_FOR_EVER)
        _end(letter, ctx)


def _redrives(ctx: JobContext) -> int:
    return int(ctx.headers.get("job-redrives") or 0)


def _letter(ctx: JobContext) -> Letter:
    if _redrives(ctx):
        return Letter.SUCCEED
    return Plan((ctx.headers.get("plan") or b"").decode()).at(ctx.attempt)


def _end(letter: Letter, ctx: JobContext) -> None:
    if letter is Letter.FAIL:
        raise Unlucky(f"attempt {ctx.attempt}")
    if letter is Letter.RETRY:
        raise Retry(in_=RETRY_IN)
    if letter is Letter.PERMANENT:
        raise PermanentError("it never will")
    if letter is Letter.SNOOZE and _first_time(ctx):
        raise Snooze(in_=SNOOZE)
    if letter is Letter.CRASH or (letter is Letter.CRASH_ONCE and _first_time(ctx)):
        _crash()


def _first_time(ctx: JobContext) -> bool:
    """Whether this is asked for the first time of a job, by any process."""
    try:
        (Path(os.environ[ledger.DIRECTORY]).parent / f"once-{ctx.id}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _crash() -> NoReturn:
    os._exit(CRASH_CODE)
