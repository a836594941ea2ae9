"""A queue some of whose jobs kill their worker: the header `ends` says how."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections.abc import Callable

from streams import JobContext, Queue
from tests.ledger import noted
from tests.models.ordered import Step

deadly = Queue("deadly", partitions=4)

ENDS: dict[bytes, Callable[[], object]] = {
    b"exit": lambda: os._exit(7),
    b"segfault": lambda: ctypes.string_at(0),
    b"kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


@deadly.job(Step)
async def step(job: Step, ctx: JobContext) -> None:
    """Wait as long as the job says, and end the worker if it is to."""
    with noted(ctx.id, ctx.key, job.seq):
        await asyncio.sleep(job.seconds)
        end = ctx.headers.get("ends")
        if end:
            ENDS[end]()
