"""A process of the pool: a program that finds its modules where the worker finds them, and then does as it is told.

    python child.py GUARD JOBS

GUARD is the number of its guard, with which it dies; JOBS is the socket to the worker. Nothing of the project can be
imported before the worker has said where: see `main`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
from pathlib import Path

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, linux/prctl.h

#: How much sooner than the worker the kernel takes a process of the pool where memory runs out, of 1,000.
_SOONER = 200


def _die_with(guard: int) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != guard:
        os._exit(1)


def _go_before_the_worker() -> None:
    """A job that is killed fails; a worker that is killed takes all its jobs with it."""
    mine = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):
        mine.write_text(str(min(1000, int(mine.read_text()) + _SOONER)))


def main(guard: int, jobs: int) -> None:
    """Serve the worker until it closes the socket."""
    _die_with(guard)
    _go_before_the_worker()
    connection = socket.socket(fileno=jobs)
    os.set_inheritable(jobs, False)
    # A line of text, as framing is a module that cannot be imported yet. What follows it is sent after the answer.
    setup = json.loads(connection.makefile("rb").readline())
    sys.path[:] = setup["path"]
    sys.argv[:] = setup["argv"]

    from streams.worker.process_pool.child_runs import serve  # noqa: PLC0415 - see above

    serve(connection, setup["modules"], setup["levels"])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
