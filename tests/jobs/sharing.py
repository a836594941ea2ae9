"""Several queues in one worker: three with as many partitions, one of CPU-bound jobs, one of another pool."""

from __future__ import annotations

import asyncio
import time

from streams import JobContext, Queue
from tests.ledger import noted
from tests.models.ordered import Step

first = Queue("first", partitions=6)
second = Queue("second", partitions=6)
third = Queue("third", partitions=6)
heavy = Queue("heavy", partitions=4)
elsewhere = Queue("elsewhere", partitions=3, pool="other")


@first.job(Step)
@second.job(Step)
@third.job(Step)
@elsewhere.job(Step)
async def wait(job: Step, ctx: JobContext) -> None:
    """Wait as long as the job says."""
    with noted(ctx.id, ctx.key, job.seq):
        await asyncio.sleep(job.seconds)


@heavy.job(Step, cpu_bound=True)
def burn(job: Step, ctx: JobContext) -> None:
    """Keep a core busy as long as the job says."""
    with noted(ctx.id, ctx.key, job.seq):
        until = time.process_time() + job.seconds
        while time.process_time() < until:
            pass
