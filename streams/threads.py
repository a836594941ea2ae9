"""Plain functions as handlers: each run gets a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import threading
from collections.abc import Callable
from typing import Any

from streams.context import JobContext
from streams.errors import DefinitionError
from streams.showing import shown_id

logger = logging.getLogger("streams.threads")


class Threads:
    """Runs plain functions without blocking the loop.

    A thread cannot be stopped from outside. One whose job timed out is left behind, counted in `left_behind` and
    logged, and takes no other job's place: starting a thread costs some 50 µs, so there is no pool that it could
    exhaust, and as a daemon it does not hold up the end of the worker.
    """

    def __init__(self) -> None:
        #: Threads whose job timed out and that still run.
        self.left_behind = 0

    async def run(self, handler: Callable[..., Any], payload: Any, ctx: JobContext) -> None:
        """Run a handler in a thread and raise what it raises. Cancelling this leaves the thread behind."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[BaseException | None] = loop.create_future()
        context = contextvars.copy_context()
        job = f"{shown_id(ctx.id)} of queue {ctx.queue}"

        def settle(error: BaseException | None) -> None:
            if ended.done():
                self.left_behind -= 1
                logger.info("the thread that job %s left behind has ended; %d still run", job, self.left_behind)
            else:
                ended.set_result(error)

        def work() -> None:
            error = None
            try:
                _refuse_awaitable(context.run(handler, payload, ctx))
            except BaseException as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has stopped without us
                loop.call_soon_threadsafe(settle, error)

        threading.Thread(target=work, name=f"job-{ctx.id}", daemon=True).start()
        try:
            error = await ended
        except asyncio.CancelledError:
            # Unless it has ended at this very turn.
            if ended.cancelled():
                self._leave_behind(job)
            raise
        if error is not None:
            raise error

    def _leave_behind(self, job: str) -> None:
        self.left_behind += 1
        logger.warning(
            "job %s: its run is over, and its thread goes on, since threads cannot be stopped; left behind by now: %d."
            " Give what the handler waits for a timeout of its own, or declare it `async def` or cpu_bound=True",
            job, self.left_behind,
        )  # fmt: skip


def _refuse_awaitable(result: Any) -> None:
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise DefinitionError("a plain handler returned an awaitable that nobody awaits: declare it `async def`")
