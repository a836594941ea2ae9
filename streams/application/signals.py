"""What a signal to stop does: the first begins a stop in order, a second one ends the process at once."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from time import monotonic
from types import FrameType

logger = logging.getLogger(__name__)

#: What comes within so many seconds of the first is the same wish: a terminal and what started us may both send one.
_ECHO = 1.0

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Handles SIGINT, SIGTERM and, unless it was to be ignored (nohup), SIGHUP of a process.

    Not by the loop, which a handler may be blocking just when somebody wants it to end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, stop: Callable[[signal.Signals], object]) -> None:
        """`stop` is called on the loop, once, with the first signal."""
        self._loop = loop
        self._stop = stop
        self._first: float | None = None

    def install(self) -> None:
        """From now on they are handled here. Called in the main thread."""
        self._loop.add_signal_handler(signal.SIGALRM, _tell_of_alarm)
        for number in _STOPPING:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._loop.remove_signal_handler(number)
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        now = monotonic()
        if self._first is None:
            self._first = now
            self._loop.call_soon_threadsafe(self._stop, signal.Signals(number))
        elif now - self._first > _ECHO:
            # No logger: the signal may have come while one was writing.
            os.write(2, b"a second signal: ending at once; what runs now runs again elsewhere\n")
            os._exit(128 + number)


def _tell_of_alarm() -> None:
    """Say what came of a handler's `signal.alarm`, which would end the worker and all other jobs' runs with it."""
    logger.warning("an alarm has gone off (SIGALRM), and nothing came of it: a job's handler has set it, and alarms are"
                   " the whole worker's; give the job a timeout, or make its handler cpu_bound=True")  # fmt: skip
