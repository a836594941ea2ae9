"""The guard of one process of the pool: a program of its own, which ends whatever a handler has started.

A handler may start programs, and these others; some of them leave their parent, their group and their session. All of
them are below the guard for ever, since it is their subreaper (PR_SET_CHILD_SUBREAPER of Linux): whoever loses its
parent becomes the guard's child. So when the process dies, when the worker wants it to end, and when the worker itself
is gone (kill -9), the guard kills what is below it until nothing is left. It reaps them, too, so that none becomes a
zombie where the worker is process 1 of a container.

    python subreaper.py CONTROL JOBS COMMAND...

CONTROL is a socket to the worker: the guard writes the number of the process it has started, and the code with which
that ended when all is over; whatever the worker writes, and its end, means "now". JOBS is the process's own socket,
handed on to it as its last argument. It imports nothing but Python's own, and as little as it can: there is one for
each process of the pool.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, linux/prctl.h

#: What reaches all processes of a service or a terminal when its worker is told to stop. The worker decides.
_FOR_THE_WORKER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

#: How often to look whether the worker is still there, in case that something else holds its end of the socket.
_LOOK_MS = 1000

#: Seconds between two looks for what is left; it is killed again, since it may have started more meanwhile.
_AGAIN = 0.005


class Guard:
    """The process, and what is below it."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._worker = os.getppid()
        #: What the process ended with: an exit code, or a signal's number below zero.
        self.code: int | None = None

    def watch(self, control: int) -> None:
        """Wait for the end of the process, or for the worker's word."""
        woken = _wake_at_deaths()
        waiting = select.poll()
        waiting.register(control, select.POLLIN)
        waiting.register(woken, select.POLLIN)
        while self.code is None and os.getppid() == self._worker:
            if any(number == control for number, _ in waiting.poll(_LOOK_MS)):
                return
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            self._reap()

    def end_all(self) -> None:
        """Kill what is below until nothing is left."""
        while self._reap():
            for number in _below(os.getpid()) or {self._process}:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(_AGAIN)

    def _reap(self) -> bool:
        """Take leave of those that have died. Returns whether anybody is left."""
        with contextlib.suppress(ChildProcessError):
            while True:
                number, status = os.waitpid(-1, os.WNOHANG)
                if number == 0:
                    return True
                if number == self._process:
                    self.code = os.waitstatus_to_exitcode(status)
        return False


def _below(number: int) -> set[int]:
    """All processes below one; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            # The name, in brackets, may hold anything.
            parent = entry.read_bytes().rpartition(b")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(entry.parent.name))
    found: set[int] = set()
    left = [number]
    while left:
        below = set(children.get(left.pop(), ())) - found
        found |= below
        left += below
    return found


def _wake_at_deaths() -> int:
    """A file that can be read when a child has died."""
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    return woken


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def main(control: int, jobs: int, command: list[str]) -> None:
    """Start the command, wait, and leave nothing of it behind."""
    os.set_inheritable(control, False)
    for number in _FOR_THE_WORKER:
        signal.signal(number, signal.SIG_IGN)
    _adopt_orphans()
    process = os.posix_spawn(
        command[0],
        [*command, str(os.getpid()), str(jobs)],
        os.environ,
        setpgroup=0,
        setsigdef=_FOR_THE_WORKER,
    )
    os.close(jobs)
    guard = Guard(process)
    with contextlib.suppress(BrokenPipeError):
        os.write(control, b"%d\n" % process)
        guard.watch(control)
    guard.end_all()
    with contextlib.suppress(BrokenPipeError):
        os.write(control, b"%d\n" % (guard.code or 0))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
