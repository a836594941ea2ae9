"""What a job must not leave behind for the next one of its process, as far as it can be put back.

Put back are the working directory, the environment, the mask of new files, a timer that still runs (`signal.alarm`),
blocked signals, and what a signal to stop does; context variables are each run's own. What modules keep (caches,
connections, seeds of random numbers), open files and programs that still run stay until the process ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

#: What may reach all processes of a service or a terminal when its worker is told to stop: the worker decides what
#: becomes of its jobs.
_FOR_THE_WORKER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """No SIG_IGN, which programs that a handler starts would inherit."""


def heed_no_stop() -> None:
    """Ignore signals to stop, and have forks of this process and programs that it starts heed them."""
    for number in _FOR_THE_WORKER:
        signal.signal(number, _ignore)
        # System calls go on by themselves, also in libraries that do not expect to be interrupted.
        signal.siginterrupt(number, False)


class _Forks:
    """Has forks heed signals to stop, such as multiprocessing's `terminate`: also one that is sent at once."""

    def __init__(self) -> None:
        self._blocked: set[int] = set()
        os.register_at_fork(before=self._block, after_in_parent=self._unblock, after_in_child=self._heed)

    def _block(self) -> None:
        self._blocked = {*signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_WORKER)}

    def _unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)

    def _heed(self) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in _FOR_THE_WORKER[1:]:
            signal.signal(number, signal.SIG_DFL)
        self._unblock()


class Surroundings:
    """How a process was before its first job."""

    def __init__(self) -> None:
        _Forks()
        self._directory = os.getcwd()  # noqa: PTH109 - nothing is to be done with it but to go there
        self._environment = dict(os.environ)
        self._files = os.umask(0)
        os.umask(self._files)
        self._blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def restore(self) -> None:
        """Put back what can be."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)
        if any(signal.getsignal(number) is not _ignore for number in _FOR_THE_WORKER):
            heed_no_stop()
        os.umask(self._files)
        with contextlib.suppress(OSError):  # It may have been removed.
            os.chdir(self._directory)
        if dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
