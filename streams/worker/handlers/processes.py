"""CPU-bound handlers: they run in a pool of processes, and a run that takes too long is killed with all it has started.

The pool is our own. Of what it has to do, Pebble's and concurrent.futures' know only to run and to kill: not when a job
has begun, the monotonic clock, a limit of memory, a share for each queue, processes that are started when they are
needed, or a handler's own children.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from streams.api.context import FollowUp, JobContext
from streams.core.retry.failure import Failure
from streams.errors import HandlerCrashed, JobTimeout
from streams.ports.records import WorkLane
from streams.settings.processors import usable_processors
from streams.worker.process_pool.child_runs import Ended, HandlerAddress
from streams.worker.process_pool.member import Died, Member
from streams.worker.process_pool.shares import Share, Shares

logger = logging.getLogger(__name__)

#: How long a new process may take until it can run jobs, and the wait after one that could not, doubled up to the
#: last. Seconds.
_START_LIMIT = 120.0
_START_AGAIN = 0.5
_START_AGAIN_AT_MOST = 30.0

_MEBIBYTE = 1024 * 1024


class RemoteFailure(Exception):
    """A handler raised in another process; `failure` has what it raised, as text."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class ProcessRunner:
    """Runs CPU-bound handlers in a pool of processes, for the executors of all queues.

    They are started when jobs wait for them, and are new ones, not forks: clients of Kafka and threads do not survive a
    fork. Owned by the worker's loop, which nothing here blocks.

    size     processes that the queues share; see `shares` for how
    modules  what each imports before it takes jobs
    jobs     after which a process is replaced
    memory   bytes beyond which it is replaced, once it has twice what it had after its first job
    """

    def __init__(
        self, size: int, *, modules: Iterable[str] = (), jobs: int = 1000, memory: int = 512 * _MEBIBYTE
    ) -> None:
        self._size = size
        self._modules = [*modules]
        self._jobs = jobs
        self._memory = memory
        self._idle: list[Member] = []
        self._shares = Shares(size, self._idle, self._see_to_it, self._release)
        self._starting: dict[asyncio.Task[None], Member] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._at_once = usable_processors()
        #: What ends the wait after a process that could not be started, and how long it is.
        self._again: asyncio.TimerHandle | None = None
        self._patience = _START_AGAIN
        self._closing = False
        self._started = asyncio.Event()

    def share(self, in_process: Callable[[WorkLane], bool], limit: int, submit: Callable[[WorkLane], None]) -> Share:
        """Make the share of one more queue: which of its jobs need a process, how many of them may run at once, and who
        takes the lanes that have waited for one."""
        return self._shares.share(in_process, limit, submit)

    # -- runs ---------------------------------------------------------------------------------------------------------

    async def run(
        self,
        handler: HandlerAddress,
        payload: Any,
        ctx: JobContext,
        timeout: float,
        process: Member | None = None,
    ) -> None:
        """Run a handler, and the hooks around it, in a process and raise what it raises.

        timeout is in seconds and counts from the start in the process. Raises JobTimeout when it is over,
        HandlerCrashed when the process dies, RemoteFailure for an exception. Cancelling this kills the process; when
        this is over, nothing of the run goes on.

        process  a process of the caller's share; else one is waited for
        """
        if process is not None and process.alive:
            await self._run_in(process, handler, payload, ctx, timeout)
            return
        process = await self._one()
        try:
            await self._run_in(process, handler, payload, ctx, timeout)
        finally:
            self._release(process)

    async def _run_in(
        self, process: Member, handler: HandlerAddress, payload: Any, ctx: JobContext, timeout: float
    ) -> None:
        answer = process.begin(handler, payload, ctx)
        try:
            done, _ = await asyncio.wait({answer}, timeout=timeout)
        finally:
            if not answer.done():
                await process.end()
        if not done:
            raise JobTimeout(
                f"the handler ran longer than its timeout of {round(timeout, 3):g} s; its process was killed, and what"
                " it had started"
            )
        ctx.adopt(_follow_ups(answer))

    # -- processes ----------------------------------------------------------------------------------------------------

    async def _one(self) -> Member:
        """A process that can take a job; waits for it as long as it takes."""
        while True:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
            self._started.clear()
            self._see_to_it(1)
            await self._started.wait()

    def _see_to_it(self, wanted: int) -> None:
        """Start processes until as many are on their way, and no more at once than can start at once."""
        if self._again is not None or self._closing:
            return
        for _ in range(min(wanted, self._at_once) - len(self._starting)):
            process = Member()
            task = asyncio.ensure_future(process.start(self._modules, _START_LIMIT))
            self._starting[task] = process
            task.add_done_callback(self._seen_to)

    def _seen_to(self, task: asyncio.Task[None]) -> None:
        process = self._starting.pop(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            self._patience = _START_AGAIN
            self._idle.append(process)
        elif not self._closing:
            self._put_off(error)
        self._go_on()

    def _put_off(self, error: BaseException) -> None:
        """Wait before another process is started. Whatever the reason, it is no job's fault."""
        logger.error("a process for CPU-bound jobs: %s; they wait, and the next one is started in %g s", error,
                     self._patience)  # fmt: skip
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(self._patience, self._start_again)
            self._patience = min(self._patience * 2, _START_AGAIN_AT_MOST)

    def _start_again(self) -> None:
        self._again = None
        self._go_on()

    def _go_on(self) -> None:
        self._started.set()
        self._shares.hand_out()

    def _release(self, process: Member) -> None:
        """Keep a process for the next job, unless it has done its share or nobody needs it."""
        if not process.alive:
            return
        if self._is_spent(process) or len(self._idle) >= self._size:
            self._retire(process)
        else:
            self._idle.append(process)

    def _is_spent(self, process: Member) -> bool:
        # A library that takes a lot with the first job is no leak, and would be loaded again for every job.
        limit = max(self._memory, 2 * process.memory_at_first)
        return process.exhausted or process.jobs >= self._jobs or process.memory > limit

    def _retire(self, process: Member) -> None:
        process.retire()
        task = asyncio.ensure_future(process.end(politely=True))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End the processes. They may be started again."""
        self._closing = True
        while self._idle:
            self._retire(self._idle.pop())
        for process in self._starting.values():
            process.abandon()
        while self._starting or self._ending:
            await asyncio.wait(self._starting.keys() | self._ending)
        self._closing = False


def _follow_ups(answer: asyncio.Future[Ended]) -> list[FollowUp]:
    """What a run has published; raises what became of it otherwise."""
    died = answer.exception()
    if isinstance(died, Died):
        raise HandlerCrashed(str(died))
    ended = answer.result()
    if ended.failure is not None:
        raise RemoteFailure(ended.failure)
    return ended.follow_ups
