"""A program that runs beside the demonstration."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

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
