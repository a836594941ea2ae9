"""What a signal to stop does: the first begins a stop in order, a second one ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from time import monotonic
from types import FrameType

#: What comes within so many seconds of the first is the same wish: a terminal and what started us may both send one.
_ECHO = 1.0

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Handles SIGINT and SIGTERM of a process.

    Not by the loop, which a handler may be blocking just when somebody wants it to end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, stop: Callable[[signal.Signals], object]) -> None:
        """`stop` is called on the loop, once, with the first signal."""
        self._loop = loop
        self._stop = stop
        self._first: float | None = None

    def install(self) -> None:
        """From now on they are handled here. Called in the main thread."""
        for number in _STOPPING:
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
