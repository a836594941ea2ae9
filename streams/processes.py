"""CPU-bound handlers: they run in a pool of processes (Pebble's), and a run that takes too long is killed."""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import logging
import multiprocessing
import pickle
import signal
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from pebble import ProcessExpired, ProcessPool

from streams.context import FollowUp, JobContext
from streams.core.outcome import Failed
from streams.errors import HandlerCrashed, JobTimeout

logger = logging.getLogger("streams.processes")

#: What a run in a process leaves: its failure, if any, and its follow-up jobs.
Ended = tuple[Failed | None, list[FollowUp]]


class RemoteFailure(Exception):
    """A handler raised in another process; `failure` has what it raised, as text."""

    def __init__(self, failure: Failed) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Processes:
    """The process pool. Processes are started by the first job and are new ones, not forks: clients of Kafka and
    threads do not survive a fork."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pool: ProcessPool | None = None

    async def run(self, handler: Callable[..., Any], payload: Any, ctx: JobContext, timeout: float) -> None:
        """Run a handler in a process and raise what it raises.

        timeout is in seconds and counts from the start in the process. Raises JobTimeout when it is over,
        HandlerCrashed when the process dies, RemoteFailure for an exception. Cancelling this kills the process.
        """
        work = (_address(handler), payload, ctx)
        try:
            failure, follow_ups = await self._in_a_pool_that_works(work, timeout)
        except TimeoutError:
            raise JobTimeout(
                f"the handler ran longer than its timeout of {round(timeout, 3):g} s; its process was killed"
            ) from None
        except ProcessExpired as crash:
            raise HandlerCrashed(f"the process that ran the handler died ({_cause(crash)})") from None
        if failure is not None:
            raise RemoteFailure(failure)
        ctx.adopt(follow_ups)

    async def _in_a_pool_that_works(self, work: tuple[Any, ...], timeout: float) -> Ended:
        """Run in the pool; a pool that is broken (an idle process of it was killed) is replaced, and no job's fault."""
        while True:
            pool = self._open()
            try:
                future = pool.schedule(_work, args=work, timeout=timeout)
                return await asyncio.wrap_future(future)
            except (BrokenProcessPool, RuntimeError) as error:
                if pool.active:
                    raise
                logger.error("the process pool is broken (%s): starting another", error)
                if self._pool is pool:
                    self._pool = None
                await asyncio.to_thread(_end, pool)

    def close(self) -> None:
        """Kill the processes. Blocks for a moment."""
        if self._pool is not None:
            _end(self._pool)
            self._pool = None

    def _open(self) -> ProcessPool:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPool(max_workers=self._size, initializer=_initialize, context=context)
        return self._pool


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


def _address(handler: Callable[..., Any]) -> tuple[str, str]:
    return handler.__module__, handler.__qualname__


def _cause(crash: ProcessExpired) -> str:
    code = crash.exitcode
    if code is not None and code < 0:
        known = {each.value: each.name for each in signal.Signals}
        return f"signal {known.get(-code, -code)}"
    return f"exit status {code}"


def _initialize() -> None:
    # Ctrl-C reaches the whole foreground group; the worker decides what becomes of its jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        # prctl(PR_SET_PDEATHSIG): a worker that is killed leaves no processes behind.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _work(address: tuple[str, str], payload: Any, ctx: JobContext) -> Ended:
    module, name = address
    try:
        getattr(importlib.import_module(module), name)(payload, ctx)
        ctx.end()
        if ctx.follow_ups:
            # What cannot be sent to the worker is the handler's fault, and would pass for a crash of the process.
            pickle.dumps(ctx.follow_ups)
    except BaseException as error:
        ctx.end()
        frames = error.__traceback__
        return Failed.of(error).with_stack(error, stack_from=frames.tb_next if frames else None), []
    return None, ctx.follow_ups or []
