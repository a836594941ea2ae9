"""One process of the pool, as the worker has it: started, given jobs, ended with everything that they have started."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from streams.aio.blocking_calls import BlockingCalls
from streams.worker.process_pool import child_logging
from streams.worker.process_pool.answers import read_answer
from streams.worker.process_pool.child_runs import Ended, HandlerAddress
from streams.worker.process_pool.frames import Kind, frame, read

logger = logging.getLogger(__name__)

_HERE = Path(__file__).parent

#: Starting a process blocks for some milliseconds.
_STARTS = BlockingCalls("process-start", 2)
#: How long the end of a process is waited for: one that is killed, and one that may clean up first. Seconds.
_LAST = 10.0
_POLITE = 5.0


class Unfit(Exception):
    """A process cannot take jobs: it could not be started, or not import the handlers. No job's fault."""


class Died(Exception):
    """The process has ended in the middle of a run; says how."""


class Member:
    """A process and its guard. Owned by the worker's loop, which nothing here blocks."""

    def __init__(self) -> None:
        #: Whether it can take a job, or has one.
        self.alive = False
        #: How many jobs it has run, and the bytes of memory that it had after the first and the last of them.
        self.jobs = 0
        self.memory_at_first = 0
        self.memory = 0
        #: Whether memory has run out in it.
        self.exhausted = False
        self._control: asyncio.StreamWriter | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._ready: asyncio.Future[None] = _future()
        self._answer: asyncio.Future[Ended] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._abandoned = False

    # -- start --------------------------------------------------------------------------------------------------------

    async def start(self, modules: Iterable[str], within: float) -> None:
        """Start it, have it import modules, and wait until it can take jobs. Not to be cancelled.

        Raises Unfit, and leaves nothing behind then.
        """
        try:
            launched = await _STARTS.run(_launch)
        except OSError as error:
            raise Unfit(f"it cannot be started: {error}") from error
        self._guard, jobs, control = launched
        self._reader, self._writer = await asyncio.open_unix_connection(sock=jobs)
        told, self._control = await asyncio.open_unix_connection(sock=control)
        self._over = asyncio.ensure_future(told.read())
        self._hearing = asyncio.ensure_future(self._hear())
        self._writer.write(_setup(modules))
        if self._abandoned:
            self._tell_guard()
        try:
            await asyncio.wait_for(asyncio.shield(self._ready), within)
        except TimeoutError:
            raise Unfit(f"it cannot take jobs after {within:g} s") from None
        finally:
            if not self.alive:
                await self.end()

    def abandon(self) -> None:
        """Have `start` fail soon."""
        self._abandoned = True
        self._tell_guard()

    def _tell_guard(self) -> None:
        """Have the guard end everything."""
        if self._control is not None:
            self._control.write_eof()

    async def _hear(self) -> None:
        """Take what the process sends, until it ends."""
        try:
            while (received := await read(self._reader)) is not None:
                self._take(*received)
        except Exception as error:
            logger.error("a process of the pool has sent what cannot be read, and is killed: %r", error)
        idle = self.alive and (self._answer is None or self._answer.done())
        await self.end()
        if idle:
            logger.warning("a process of the pool died while it had nothing to do (%s); another takes its place when it"
                           " is needed", self._cause())  # fmt: skip
        if not self._ready.done():
            self._ready.set_exception(Unfit(f"it died before it could take jobs ({self._cause()})"))
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Died(f"the process that ran the handler died ({self._cause()})"))

    def _take(self, kind: Kind, body: bytes) -> None:
        if kind is Kind.LINE:
            child_logging.show(body)
        elif kind is Kind.ENDED:
            self._take_answer(*read_answer(body))
        elif self._ready.done():
            pass  # It took too long, and is being ended.
        elif kind is Kind.READY:
            self.alive = True
            self._ready.set_result(None)
        else:
            self._ready.set_exception(Unfit(f"it cannot import the handlers:\n{body.decode()}"))

    def _take_answer(self, ended: Ended, memory: int) -> None:
        self.jobs += 1
        self.memory = memory
        self.memory_at_first = self.memory_at_first or memory
        self.exhausted = ended.exhausted
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(ended)

    # -- jobs ---------------------------------------------------------------------------------------------------------

    def begin(self, address: HandlerAddress, payload: Any, ctx: Any) -> asyncio.Future[Ended]:
        """Have it run a job, one at a time. Returns what comes of it, or Died."""
        work = pickle.dumps((address, payload, ctx))
        self._answer = _future()
        self._writer.write(frame(Kind.JOB, work))
        return self._answer

    # -- end ----------------------------------------------------------------------------------------------------------

    def retire(self) -> None:
        """Take no more jobs; `end` is to follow."""
        self.alive = False

    async def end(self, *, politely: bool = False) -> None:
        """Kill it and all that it has started, and wait until they are dead; politely: when it has cleaned up."""
        self.alive = False
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end(politely))
        await asyncio.shield(self._ending)

    async def _end(self, politely: bool) -> None:
        if politely:
            self._writer.close()
            await asyncio.wait({self._over}, timeout=_POLITE)
        if not self._over.done():
            self._tell_guard()
        await asyncio.wait({self._over}, timeout=_LAST)
        self._writer.close()
        if self._control is not None:
            self._control.close()
        if not self._over.done():
            logger.error("a process of the pool, or a program that a handler has started in it, is not dead %g s after"
                         " it was killed", _LAST)  # fmt: skip
        elif self._guard is not None:
            self._see_to_orphans()
            await _STARTS.run(self._guard.wait)

    def _told(self) -> list[int]:
        """What the guard has said: the number of the process, and the code that it has ended with."""
        if not self._over.done() or self._over.cancelled() or self._over.exception() is not None:
            return []
        return [int(line) for line in self._over.result().split()]

    def _see_to_orphans(self) -> None:
        """A guard that was killed itself cannot end what the handlers have started: end what is in their group."""
        told = self._told()
        if len(told) == 1:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(told[0], signal.SIGKILL)

    def _cause(self) -> str:
        told = self._told()
        if len(told) < 2:
            return "its guard was killed"
        code = told[1]
        if code < 0:
            known = {each.value: each.name for each in signal.Signals}
            return f"signal {known.get(-code, -code)}"
        return f"exit status {code}"


def _future() -> asyncio.Future[Any]:
    """A future whose exception need not be asked for."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


def _launch() -> tuple[subprocess.Popen[bytes], socket.socket, socket.socket]:
    """Start a guard, which starts the process; also the sockets to both. Blocks for a moment."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    process = [sys.executable, *flags, str(_HERE / "child.py")]
    jobs, its_jobs = socket.socketpair()
    control, its_control = socket.socketpair()
    with its_jobs, its_control:
        numbers = its_control.fileno(), its_jobs.fileno()
        guard = [sys.executable, "-I", "-S", str(_HERE / "subreaper.py"), *map(str, numbers), *process]
        try:
            # A session of its own: what is sent to the worker's group is for the worker.
            started = subprocess.Popen(guard, stdin=subprocess.DEVNULL, pass_fds=numbers, start_new_session=True)  # noqa: S603
        except BaseException:
            jobs.close()
            control.close()
            raise
    return started, jobs, control


def _setup(modules: Iterable[str]) -> bytes:
    """What a process must know before it can import anything of ours, as a line."""
    setup = {"path": sys.path, "argv": sys.argv, "modules": [*modules], "levels": child_logging.levels()}
    return json.dumps(setup).encode() + b"\n"
