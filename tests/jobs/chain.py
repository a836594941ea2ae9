"""A queue of one runner whose jobs publish a follow-up to the queue that they name."""

from __future__ import annotations

from streams import JobContext, Queue
from tests.ledger import noted
from tests.models.ordered import Step
from tests.models.trouble import Trouble

chain = Queue("chain", partitions=1, concurrency=1)


@chain.job(Trouble)
async def pass_on(job: Trouble, ctx: JobContext) -> None:
    """Publish a follow-up to the queue `how`."""
    with noted(ctx.id, ctx.key, 0):
        ctx.publish(Step(seq=0, seconds=0.0), id=f"after-{ctx.id}", queue=job.how)


@chain.job(Step)
async def end(job: Step, ctx: JobContext) -> None:
    """End the chain."""
    with noted(ctx.id, ctx.key, job.seq):
        pass
