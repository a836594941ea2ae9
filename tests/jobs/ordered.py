"""A queue whose jobs note their start and end in the ledger, and wait in between."""

from __future__ import annotations

import asyncio

from streams import JobContext, Queue
from tests.ledger import noted
from tests.models.ordered import Step

ordered = Queue("ordered", partitions=12)


@ordered.job(Step)
async def step(job: Step, ctx: JobContext) -> None:
    """Wait as long as the job says."""
    with noted(ctx.id, ctx.key, job.seq, ctx.attempt):
        await asyncio.sleep(job.seconds)
