"""A queue whose jobs note their start and end in the ledger, and wait in between."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from streams import JobContext, Queue
from tests.ledger import noted
from tests.models.ordered import Step

ordered = Queue("ordered", partitions=12)

#: Names a file, where a test sets it: a job waits no longer than until that is there.
RELEASE = "ORDERED_RELEASE"
_TICK = 0.02


@ordered.job(Step)
async def step(job: Step, ctx: JobContext) -> None:
    """Wait as long as the job says."""
    release = os.environ.get(RELEASE)
    with noted(ctx.id, ctx.key, job.seq, ctx.attempt):
        if release is None:
            await asyncio.sleep(job.seconds)
            return
        for _ in range(round(job.seconds / _TICK)):
            if Path(release).exists():  # noqa: ASYNC240 - quick
                return
            await asyncio.sleep(_TICK)
