"""A thread that does one call after another: starting one costs time, and so does what libraries keep by thread."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

logger = logging.getLogger(__name__)

Work = Callable[[], object]


class ReusedThread:
    """A daemon thread that does what it is given, in this order, until `end` is called.

    Nothing that it is given may raise. As a daemon it does not delay the end of the process. Raises RuntimeError or
    MemoryError where the system has no thread to give.
    """

    __slots__ = ("_inbox", "_wake")

    def __init__(self, name: str) -> None:
        # What is given lies beside what wakes the thread: an exception that somebody has sent to it arrives as it
        # wakes, and takes with it what it has been woken by.
        self._inbox: deque[Work | None] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        threading.Thread(target=_work, args=(self._inbox, self._wake), name=name, daemon=True).start()

    def give(self, work: Work) -> None:
        """Have something done, as soon as what was given before is done. May be called from any thread."""
        self._inbox.append(work)
        self._wake.put(None)

    def end(self) -> None:
        """Have the thread end when it has done what it was given. May be called from any thread."""
        self._inbox.append(None)
        self._wake.put(None)


def _work(inbox: deque[Work | None], wake: SimpleQueue[None]) -> None:
    while True:
        try:
            while not inbox:
                wake.get()
            work = inbox.popleft()
            if work is None:
                return
            work()
            # What the work refers to must not stay until there is more of it.
            del work
        except BaseException:
            logger.warning("an exception was sent to a thread whose run was over; it is dropped", exc_info=True)
