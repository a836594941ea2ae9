"""Handlers that end badly: on the loop, in a thread, in a process."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable

from streams import NO_RETRY, JobContext, Queue
from tests.ledger import noted
from tests.models.ordered import Step
from tests.models.trouble import Trouble

#: Every handler's timeout. Seconds.
TIMEOUT = 1.0

on_loop = Queue("trouble-loop", partitions=2, retry=NO_RETRY)
in_thread = Queue("trouble-thread", partitions=2, retry=NO_RETRY)
in_process = Queue("trouble-process", partitions=2, concurrency=2, retry=NO_RETRY)
follow_ups = Queue("follow-ups", partitions=2, retry=NO_RETRY)


class Unlucky(Exception):
    """What a handler raises."""


def _raise(_job: Trouble) -> None:
    raise Unlucky("no luck with this one")


def _return(_job: Trouble) -> None:
    pass


def _exit(_job: Trouble) -> None:
    sys.exit(3)


def _interrupt(_job: Trouble) -> None:
    raise KeyboardInterrupt


def _cancel(_job: Trouble) -> None:
    raise asyncio.CancelledError("its own idea")


def _hang(_job: Trouble) -> None:
    time.sleep(3 * TIMEOUT)


def _leave(_job: Trouble) -> None:
    os._exit(7)


def _crash(_job: Trouble) -> None:
    ctypes.string_at(0)


WAYS: dict[str, Callable[[Trouble], None]] = {
    "raise": _raise, "return": _return, "sys.exit": _exit, "interrupt": _interrupt, "cancel": _cancel, "hang": _hang,
    "os._exit": _leave, "segfault": _crash,
}  # fmt: skip


def _publish(job: Trouble, ctx: JobContext) -> None:
    if job.follow_up:
        ctx.publish(Step(seq=0, seconds=0.0), id=f"after-{ctx.id}", queue="follow-ups")


@on_loop.job(Trouble, timeout=TIMEOUT)
async def end_on_loop(job: Trouble, ctx: JobContext) -> None:
    """End as the job says, on the worker's loop."""
    _publish(job, ctx)
    if job.how == "hang":
        await asyncio.sleep(3 * TIMEOUT)
    if job.how == "hang on":
        await _hang_on()
    if job.how == "exit beside":
        await asyncio.gather(_exit_beside(), asyncio.sleep(0))
    if job.how == "fail, cancelled":
        _own_task().cancel()
        raise Unlucky("and its task is cancelled")
    if job.how == "return" and job.follow_up:
        # Nobody awaits anything any more: it hits whatever the runner does next.
        _own_task().cancel()
    WAYS.get(job.how, _return)(job)


async def _exit_beside() -> None:
    sys.exit(3)


def _own_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def _hang_on() -> None:
    """Take a cancellation for an answer only after some more work."""
    try:
        await asyncio.sleep(3 * TIMEOUT)
    finally:
        await asyncio.sleep(0.2)


@in_thread.job(Trouble, timeout=TIMEOUT)
def end_in_thread(job: Trouble, ctx: JobContext) -> None:
    """End as the job says, in a thread."""
    _publish(job, ctx)
    WAYS[job.how](job)


@in_process.job(Trouble, timeout=TIMEOUT, cpu_bound=True)
def end_in_process(job: Trouble, ctx: JobContext) -> None:
    """End as the job says, in a process."""
    _publish(job, ctx)
    WAYS[job.how](job)


@follow_ups.job(Step)
async def follow_up(job: Step, ctx: JobContext) -> None:
    """Note the id, and whose follow-up it is, as the key."""
    with noted(ctx.id, ctx.parent, job.seq):
        pass
