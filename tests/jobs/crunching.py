"""Two queues of CPU-bound jobs that only wait, and are given up when they fail."""

from __future__ import annotations

import time

from streams import NO_RETRY, JobContext, Queue
from tests.ledger import noted
from tests.models.ordered import Step

long = Queue("long", partitions=1, retry=NO_RETRY)
short = Queue("short", partitions=1, retry=NO_RETRY)


@long.job(Step, cpu_bound=True)
@short.job(Step, cpu_bound=True)
def crunch(job: Step, ctx: JobContext) -> None:
    """Wait as long as the job says."""
    with noted(ctx.id, ctx.key, job.seq):
        time.sleep(job.seconds)
