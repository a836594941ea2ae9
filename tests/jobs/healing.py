"""A queue that lacks a handler until STREAMS_TEST_HEALED is set: its jobs are dead letters at once, and then run."""

from __future__ import annotations

import os

from streams import JobContext, Queue
from tests.ledger import noted
from tests.models.ordered import Step
from tests.models.trouble import Trouble

healing = Queue("healing", partitions=3)


@healing.job(Trouble)
async def nothing(job: Trouble, ctx: JobContext) -> None:
    """Be a handler, so that the queue has one."""


if os.environ.get("STREAMS_TEST_HEALED"):

    @healing.job(Step)
    async def step(job: Step, ctx: JobContext) -> None:
        """Note the run, under the attempts that were counted."""
        with noted(f"{ctx.id} after {ctx.attempt}", ctx.key, job.seq):
            pass
