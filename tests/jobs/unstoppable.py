"""A queue whose workers fail to stop: what they say of it is an error of its own."""

from __future__ import annotations

from typing import NoReturn

import faust

from streams import JobContext, Queue
from tests.models.ordered import Step

unstoppable = Queue("unstoppable", partitions=1)


@unstoppable.job(Step)
async def step(job: Step, ctx: JobContext) -> None:
    """Do nothing."""


def _fail(_worker: faust.Worker) -> NoReturn:
    raise OSError("the terminal is gone")


# Any error within the stop will do, and this module is what a test can put into a worker's process.
faust.Worker.on_worker_shutdown = _fail  # type: ignore[assignment, method-assign]
