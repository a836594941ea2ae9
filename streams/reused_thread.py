"""A thread that does one thing after another, so that nobody pays for starting one, nor for what is kept by thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], object]


class ReusedThread:
    """A daemon thread that does what it is given, in this order, until it is told to end.

    Nothing that it is given may raise. As a daemon it does not hold up the end of the process. Raises RuntimeError or
    MemoryError where the system has no thread to give.
    """

    __slots__ = ("_inbox",)

    def __init__(self, name: str) -> None:
        self._inbox: SimpleQueue[Work | None] = SimpleQueue()
        threading.Thread(target=_work, args=(self._inbox,), name=name, daemon=True).start()

    def give(self, work: Work) -> None:
        """Have something done, as soon as what was given before is done. May be called from any thread."""
        self._inbox.put(work)

    def end(self) -> None:
        """Have the thread end when it has done what it was given. May be called from any thread."""
        self._inbox.put(None)


def _work(inbox: SimpleQueue[Work | None]) -> None:
    while (work := inbox.get()) is not None:
        work()
        # What the work holds must not stay until there is more of it.
        del work
