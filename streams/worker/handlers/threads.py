"""Plain functions as handlers: each run has a thread to itself, which the next run uses again."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from streams.aio.reused_thread import ReusedThread
from streams.aio.thread_shortage import NO_THREAD, RETRY_AFTER, ThreadShortage
from streams.api.context import JobContext
from streams.errors import OutOfThreads
from streams.logs.safe_text import shown_id
from streams.worker.handlers.unfinished_work import refuse_unfinished

logger = logging.getLogger(__name__)

#: Seconds without a single thread after which the worker gives up.
_GIVE_UP_AFTER = 60.0


class ThreadRunner:
    """Runs the plain functions of one queue without blocking the loop.

    There are never more threads than have run at once, so whatever a handler keeps by thread (a connection, a session)
    is there once for each job that may run, and not once for each job.

    A thread cannot be stopped from outside. One whose job timed out is left behind, counted in `left_behind` and
    logged, and takes no other job's place: another is started in its stead, and it ends with its job. As a daemon it
    does not hold up the end of the worker.
    """

    def __init__(self, queue: str = "") -> None:
        #: Threads whose job timed out and that still run.
        self.left_behind = 0
        #: The last to become free is the first to be used: so the fewest do the work. Threads put themselves here.
        self._idle: list[ReusedThread] = []
        self._threads = 0
        self._shortage = ThreadShortage(f"queue {queue}")

    async def ready(self) -> float:
        """Wait until there is a thread for a run that begins at once. Returns the seconds that this took.

        The system may have none to give (its limit of processes, of memory). Raises OutOfThreads when it has given
        none for a minute and there is none to wait for.
        """
        if self._idle or self._add():
            return 0.0
        began = monotonic()
        while not self._idle and not self._add():  # noqa: ASYNC110 - nothing tells that there are threads again
            await asyncio.sleep(RETRY_AFTER)
        return monotonic() - began

    def _add(self) -> bool:
        """Start one more thread. Returns whether the system had one to give."""
        try:
            self._idle.append(ReusedThread("job"))
        except NO_THREAD as error:
            if self._shortage.met(error, self._threads) > _GIVE_UP_AFTER and not self._threads:
                raise OutOfThreads(f"no thread could be started for {_GIVE_UP_AFTER:g} s: {error}") from None
            return False
        self._threads += 1
        self._shortage.over()
        return True

    async def run(self, handler: Callable[..., Any], payload: Any, ctx: JobContext) -> None:
        """Run a handler in a thread and raise what it raises. Cancelling this leaves the thread behind."""
        await self.ready()
        thread = self._idle.pop()
        run = _Run(self, thread, handler, payload, ctx)
        ended = run.ended
        thread.give(run)
        del run
        try:
            error = await ended
            if error is not None:
                raise error
        finally:
            # What was raised holds this frame, and must not be held by it: it would stay until the collector runs.
            error = None
            del ended

    def close(self) -> None:
        """Have the idle threads end."""
        while self._idle:
            self._idle.pop().end()
            self._threads -= 1

    # -- called in a job's thread -------------------------------------------------------------------------------------

    def free(self, thread: ReusedThread) -> None:
        """Take back a thread whose run has ended in time."""
        self._idle.append(thread)

    # -- called on the loop -------------------------------------------------------------------------------------------

    def leave_behind(self, job: str) -> None:
        """Count a thread whose run is over before its handler is."""
        self._threads -= 1
        self.left_behind += 1
        logger.warning(
            "job %s: its run is over, and its thread goes on, since threads cannot be stopped; left behind by now: %d."
            " Give what the handler waits for a timeout of its own, or declare it `async def` or cpu_bound=True",
            job, self.left_behind,
        )  # fmt: skip

    def forget(self, job: str) -> None:
        """A thread that was left behind has ended."""
        self.left_behind -= 1
        logger.info("the thread that job %s left behind has ended; %d still run", job, self.left_behind)


class _Run:
    """One run: called in its thread, awaited and perhaps left behind on the loop."""

    __slots__ = ("_context", "_ctx", "_handler", "_in_time", "_loop", "_payload", "_thread", "_threads", "ended")

    def __init__(
        self, threads: ThreadRunner, thread: ReusedThread, handler: Callable[..., Any], payload: Any, ctx: JobContext
    ) -> None:
        self._threads, self._thread = threads, thread
        self._handler, self._payload, self._ctx = handler, payload, ctx
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        #: Empty as soon as it is decided whether the run ends in time: whoever empties it first has decided.
        self._in_time = [True]
        self.ended: asyncio.Future[BaseException | None] = self._loop.create_future()
        self.ended.add_done_callback(self._awaited)

    @property
    def _job(self) -> str:
        return f"{shown_id(self._ctx.id)} of queue {self._ctx.queue}"

    def __call__(self) -> None:
        # Whoever was here last may have left another.
        threading.current_thread().name = f"job-{self._ctx.id}"
        error = self._call()
        self._end(error)
        # What was raised holds its frames, and this one with them.
        del error

    def _call(self) -> BaseException | None:
        try:
            refuse_unfinished(self._context.run(self._handler, self._payload, self._ctx))
        except BaseException as raised:
            return raised
        return None

    def _end(self, error: BaseException | None) -> None:
        ended, self.ended = self.ended, None  # type: ignore[assignment] # it would hold the error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has stopped without us
            if self._decide_end():
                # Before the loop hears of it, which may need a thread at once.
                self._threads.free(self._thread)
                self._loop.call_soon_threadsafe(_settle, ended, error)
            else:
                self._thread.end()
                self._loop.call_soon_threadsafe(self._threads.forget, self._job)
        del ended, error

    def _decide_end(self) -> bool:
        """Decide how the run ends: in time, or left behind. Returns whether nobody has done so before."""
        try:
            return self._in_time.pop()
        except IndexError:
            return False

    def _awaited(self, ended: asyncio.Future[BaseException | None]) -> None:
        if ended.cancelled() and self._decide_end():
            self._threads.leave_behind(self._job)


def _settle(ended: asyncio.Future[BaseException | None], error: BaseException | None) -> None:
    if not ended.done():
        ended.set_result(error)
