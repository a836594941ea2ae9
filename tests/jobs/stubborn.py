"""Handlers that never end, whatever the worker does, each in a pool of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from streams import JobContext, Queue
from tests.ledger import noted
from tests.models.ordered import Step

thread = Queue("stubborn-thread", partitions=1, pool="thread")
executor = Queue("stubborn-executor", partitions=1, pool="executor")
task = Queue("stubborn-task", partitions=1, pool="task")


def _for_ever() -> None:
    threading.Event().wait()


@thread.job(Step)
def in_thread(job: Step, ctx: JobContext) -> None:
    """Never return, unless the job takes no time."""
    with noted(ctx.id, ctx.key, job.seq):
        if job.seconds:
            _for_ever()


@executor.job(Step)
async def in_executor(job: Step, ctx: JobContext) -> None:
    """Leave a thread behind that Python waits for when it ends, unless the job takes no time."""
    with noted(ctx.id, ctx.key, job.seq):
        if job.seconds:
            await asyncio.to_thread(_for_ever)


@task.job(Step)
async def in_task(job: Step, ctx: JobContext) -> None:
    """Heed no cancellation, unless the job takes no time."""
    with noted(ctx.id, ctx.key, job.seq):
        while job.seconds:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
