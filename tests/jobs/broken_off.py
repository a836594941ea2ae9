"""Queues whose jobs are broken off the first time that they run, and succeed the second time."""

from __future__ import annotations

import asyncio
import os
import time

from streams import Fixed, JobContext, Queue, RetryPolicy
from tests import ledger
from tests.models.ordered import Step

#: What counts here is what is tried again, not when.
AT_ONCE = RetryPolicy(max_attempts=3, backoff=Fixed(0), jitter="none")

on_loop = Queue("broken-off-loop", partitions=2, retry=AT_ONCE)
in_process = Queue("broken-off-process", partitions=2, retry=AT_ONCE)

#: Seconds: on the loop, and in a process, whose start counts too.
_TIMEOUT, _PROCESS_TIMEOUT = 1.5, 5.0
#: Longer than any timeout.
_FOR_EVER = 600.0

# What a pool's process does is the worker's doing. No test may import this: its own workers would inherit it.
os.environ.setdefault(ledger.PROCESS, str(os.getpid()))


@on_loop.job(Step, timeout=_TIMEOUT)
async def once_on_loop(job: Step, ctx: JobContext) -> None:
    """Take too long, the first time."""
    with ledger.noted(ctx.id, ctx.key, job.seq, ctx.attempt):
        if ctx.attempt == 0:
            await asyncio.sleep(_FOR_EVER)


@in_process.job(Step, timeout=_PROCESS_TIMEOUT, cpu_bound=True)
def once_in_process(job: Step, ctx: JobContext) -> None:
    """The first time take too long, or end the process where the header `ends` says so."""
    with ledger.noted(ctx.id, ctx.key, job.seq, ctx.attempt):
        if ctx.attempt == 0:
            if ctx.headers.get("ends"):
                os._exit(7)
            time.sleep(_FOR_EVER)
