"""Two queues of CPU-bound jobs that are given up when they fail; those of the first wait until they are released."""

from __future__ import annotations

import os
import time
from pathlib import Path

from streams import NO_RETRY, JobContext, Queue
from tests.ledger import noted
from tests.models.ordered import Step

long = Queue("long", partitions=1, retry=NO_RETRY)
short = Queue("short", partitions=1, retry=NO_RETRY)

#: Names the file whose being there releases them.
RELEASE = "CRUNCHING_RELEASE"


@long.job(Step, cpu_bound=True)
@short.job(Step, cpu_bound=True)
def crunch(job: Step, ctx: JobContext) -> None:
    """Wait, if the job says so."""
    with noted(ctx.id, ctx.key, job.seq):
        while job.seconds and not Path(os.environ[RELEASE]).exists():
            time.sleep(0.01)
