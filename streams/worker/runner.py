"""One runner of a queue: the task, the run that it is busy with, and why that was cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from enum import Enum
from typing import Any

from streams.api.context import JobContext
from streams.core.retry.failure import Failure, is_a, kinds_of, name_of
from streams.errors import JobTimeout, OutOfThreads
from streams.ports.records import WorkLane
from streams.worker.handlers.processes import RemoteFailure


class CancelReason(Enum):
    """Why the worker cancels a run."""

    TIMEOUT = "timeout"
    LOST = "lost"


class Runner:
    """One runner of a QueueExecutor: the task, the lane whose head it runs, and when that run must be over."""

    __slots__ = ("ctx", "cut", "deadline", "held_loop", "lane", "stopping", "task", "watched_until")

    def __init__(self) -> None:
        self.task: asyncio.Task[bool] | None = None
        self.lane: WorkLane | None = None
        self.deadline: float | None = None
        self.cut: CancelReason | None = None
        #: What the handler of the run was given, or that of an earlier one.
        self.ctx: JobContext | None = None
        #: When it has last waited for jobs to be admitted again; 0.0 if it has rested since. By time.monotonic.
        self.watched_until = 0.0
        #: When its task was last seen to hold the event loop for long; by time.monotonic. Another thread sets it.
        self.held_loop = 0.0
        #: Whether it is to end: a stop has cancelled its task.
        self.stopping = False

    def note_held_loop(self, now: float) -> None:
        """Note that its task was seen to hold the event loop for long; called by another thread."""
        self.held_loop = now

    def give_more_time(self, seconds: float) -> None:
        """Put the end of its run off, if it has one."""
        if self.deadline is not None:
            self.deadline += seconds

    def cancel(self, cut: CancelReason) -> None:
        """Cancel the run for a reason that its outcome will tell: once, and again if its partition is lost then."""
        if self.task is not None and (
            self.cut is None or (self.cut is CancelReason.TIMEOUT and cut is CancelReason.LOST)
        ):
            self.cut = cut
            self.task.cancel()

    def stop(self) -> asyncio.Task[bool] | None:
        """Cancel whatever it does, for good. Returns the task that ends by that."""
        self.stopping = True
        if self.task is not None:
            self.task.cancel()
        return self.task

    async def pause(self, pause: Awaitable[None]) -> None:
        """Wait between two jobs. Who cancels a runner there, other than a stop, is a handler of the past."""
        try:
            await pause
        except asyncio.CancelledError:
            if self.stopping:
                raise
            self.clear_cancellation()

    @property
    def cancelled(self) -> bool:
        """Whether the task was cancelled, by whomever, and may still be told of it."""
        # It is asked after every run. What is private knows alone of a cancellation on its way: `uncancel` leaves that
        # be before Python 3.13.
        task: Any = self.task
        return self.cut is not None or task._must_cancel or task.cancelling() > 0

    async def absorb(self) -> None:
        """Take a cancellation that the handler has left behind: it must not hit what comes after."""
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        self.clear_cancellation()

    def clear_cancellation(self) -> None:
        """Make the task usable again after `cancel`."""
        self.cut = None
        if self.task is not None:
            # A handler may have cancelled its own task, too.
            while self.task.cancelling():
                self.task.uncancel()


def _runs(runner: Runner) -> bool:
    """Whether the runner's own task runs; else its coroutine is being closed."""
    try:
        return asyncio.current_task() is runner.task
    except RuntimeError:
        return False


def overran(limit: float) -> JobTimeout:
    """A run took longer than this many seconds, which it was given."""
    return JobTimeout(f"the handler ran longer than its timeout of {round(limit, 3):g} s")


def failure_of(runner: Runner, error: BaseException, limit: float) -> Failure:
    """Why a run failed, but for the stack; re-raises what is no failure of the job.

    A task that was cancelled stays so: see `clear_cancellation`.

    limit  seconds that the run was given
    """
    if is_a(error, GeneratorExit) and not _runs(runner):
        raise error
    if is_a(error, RemoteFailure):
        return error.failure
    if is_a(error, OutOfThreads):
        raise error
    if is_a(error, asyncio.CancelledError):
        if runner.cut is CancelReason.TIMEOUT:
            return Failure(name_of(JobTimeout), str(overran(limit)), kinds=kinds_of(JobTimeout))
        if runner.cut is CancelReason.LOST:
            raise error
        # Else the handler has cancelled its own task, or something that it waited for.
    return Failure.of(error)
