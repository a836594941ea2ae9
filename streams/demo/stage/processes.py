"""The programs that run beside the demonstration: a broker, unless the environment names one, and a worker."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from streams.demo.errors import DemoFailed
from streams.demo.outcomes import Outcome, Outcomes
from streams.demo.screen import Screen

Listener = Callable[[str], None]

#: Bytes of one line of output.
_LONGEST_LINE = 1 << 20
_TAIL = 20
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """A program whose output goes to a log file and, line by line, to a listener."""

    def __init__(self, process: Process, log: Path, listener: Listener) -> None:
        self.log = log
        self._process = process
        self._listener = listener
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._end = asyncio.create_task(self._follow())

    @classmethod
    async def start(
        cls, command: Sequence[str | Path], *, log: Path, listener: Listener, env: Mapping[str, str]
    ) -> Child:
        """Start a program. It gets a session of its own: Ctrl-C reaches the demonstration, which stops it in order."""
        log.parent.mkdir(parents=True, exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            *command,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            limit=_LONGEST_LINE,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        return cls(process, log, listener)

    async def ended(self) -> int:
        """Wait for its end; returns the exit code."""
        return await asyncio.shield(self._end)

    async def stop(self, seconds: float) -> int:
        """Ask it to stop with SIGTERM, kill it after that time. Returns the exit code."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(asyncio.TimeoutError):
            return await asyncio.wait_for(self.ended(), seconds)
        with suppress(ProcessLookupError):
            self._process.kill()
        return await self.ended()

    def tail(self) -> str:
        """The last lines of its output."""
        return "\n".join(self._tail)

    async def _follow(self) -> int:
        with self.log.open("wb") as log:
            while await self._pass_on(log):
                pass
        return await self._process.wait()

    async def _pass_on(self, log: BinaryIO) -> bool:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            line = await self._process.stdout.readline()
        except ValueError:  # longer than a line may be; the reader has dropped it
            return True
        log.write(line)
        log.flush()
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self._tail.append(text)
            self._listener(text)
        return bool(line)


def _die_with_parent() -> None:
    # prctl(PR_SET_PDEATHSIG): a demonstration that is killed leaves nothing behind.
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGTERM)


_SCRIPT = Path(__file__).resolve().parents[3] / "docker" / "broker.py"


_ANNOUNCEMENT = "KAFKA_BOOTSTRAP_SERVERS="


_STOP_SECONDS = 40.0


@asynccontextmanager
async def broker(screen: Screen, runs: Path, data: Path | None) -> AsyncIterator[str]:
    """Run a broker unless the environment names one; gives its address. Raises DemoFailed when it does not start."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        screen.fact("broker", f"{given} (KAFKA_BOOTSTRAP_SERVERS)")
        yield given
        return
    screen.fact("broker", "starting an embedded Kafka; the first time its jars are downloaded ...")
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    child = await _start(screen, runs, data, address)
    try:
        bootstrap = await _address(child, address)
        screen.fact("broker", f"ready on {bootstrap}  (log: {child.log})")
        yield bootstrap
    finally:
        await child.stop(_STOP_SECONDS)


async def _start(screen: Screen, runs: Path, data: Path | None, address: asyncio.Future[str]) -> Child:
    if not _SCRIPT.exists():
        raise DemoFailed(f"there is no {_SCRIPT} to start Kafka with: set KAFKA_BOOTSTRAP_SERVERS")

    def listen(line: str) -> None:
        if address.done():
            return
        if line.startswith(_ANNOUNCEMENT):
            address.set_result(line.removeprefix(_ANNOUNCEMENT))
        else:
            screen.note(line)

    command: list[str | Path] = [sys.executable, _SCRIPT, "--log", runs / "kafka.log"]
    command += [] if data is None else ["--data", data]
    return await Child.start(command, log=runs / "broker.log", listener=listen, env=os.environ)


async def _address(child: Child, address: asyncio.Future[str]) -> str:
    ended = asyncio.ensure_future(child.ended())
    waits: list[asyncio.Future[Any]] = [address, ended]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    if address.done():
        ended.cancel()
        return address.result()
    raise DemoFailed(f"the broker did not start (exit code {ended.result()}):\n{child.tail()}")


_READY = re.compile(r"\[\^Worker\]: Ready\b")


#: An earlier worker that was killed holds its partitions until its session ends.
_START_SECONDS = 60.0


class Worker:
    """A running worker."""

    def __init__(self, child: Child, outcomes: Outcomes) -> None:
        self.outcomes = outcomes
        self._child = child

    async def died(self) -> DemoFailed:
        """Wait for the worker's end, which nobody has asked for, and say how it came."""
        code = await self._child.ended()
        return DemoFailed(f"the worker ended (exit code {code}); the end of {self._child.log}:\n{self._child.tail()}")


@asynccontextmanager
async def worker(screen: Screen, runs: Path, env: Mapping[str, str]) -> AsyncIterator[Worker]:
    """Run a worker; gives it when it is ready for jobs.

    Raises DemoFailed when it does not get there, and when it does not stop cleanly.
    """
    outcomes, ready = Outcomes(), asyncio.Event()

    def listen(line: str) -> None:
        outcome = Outcome.parse(line)
        if outcome is not None:
            outcomes.add(outcome)
        elif _READY.search(line):
            ready.set()

    faust = Path(sys.executable).with_name("faust")
    child = await Child.start(
        [faust, "-A", "streams", "worker", "-l", "info"], log=runs / "worker.log", listener=listen, env=env
    )
    try:
        running = Worker(child, outcomes)
        await _until_ready(running, ready, child)
        screen.fact("worker", f"faust -A streams worker is ready  (log: {child.log})")
        yield running
    finally:
        code = await child.stop(_STOP_SECONDS)
    if code != 0:
        raise DemoFailed(f"the worker did not stop cleanly (exit code {code}); the end of {child.log}:\n{child.tail()}")


async def _until_ready(running: Worker, ready: asyncio.Event, child: Child) -> None:
    waits: list[asyncio.Task[object]] = [asyncio.create_task(ready.wait()), asyncio.create_task(running.died())]
    done, pending = await asyncio.wait(waits, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for wait in pending:
        wait.cancel()
    if waits[1] in done and not ready.is_set():
        failure = waits[1].result()
        assert isinstance(failure, DemoFailed)  # noqa: S101 - what died() returns
        raise failure
    if not done:
        raise DemoFailed(
            f"the worker was not ready within {_START_SECONDS:.0f} s; the end of {child.log}:\n{child.tail()}"
        )
