"""Log lines while the system gives no more threads: it is no job's fault."""

from __future__ import annotations

import logging
from time import monotonic

logger = logging.getLogger(__name__)

#: What starting a thread raises where none is to be had.
NO_THREAD = (RuntimeError, MemoryError)

#: Seconds between two tries to start a thread.
RETRY_AFTER = 0.2

#: Seconds between two lines about one shortage.
_LINE_INTERVAL = 30.0


class ThreadShortage:
    """A time in which no thread can be started: since when, and whether the log has a line about it lately.

    Used by whatever starts threads. Belongs to one thread, or is guarded by a lock.
    """

    def __init__(self, who: str) -> None:
        """who  wants the threads, for the log"""
        self._who = who
        self._since: float | None = None
        self._next_line = 0.0

    def met(self, error: BaseException, threads: int) -> float:
        """Note that a thread could not be started, and log it now and then. Returns the seconds since that began.

        threads  that there are already
        """
        now = monotonic()
        if self._since is None:
            self._since, self._next_line = now, 0.0
        if now >= self._next_line:
            self._next_line = now + _LINE_INTERVAL
            logger.error(
                "the system gives no more threads (%s): %s has %d and waits for one; no job is blamed. Raise the limit"
                " (ulimit -u and -v, pids and memory of the container), or lower the concurrency of its queues",
                error, self._who, threads,
            )  # fmt: skip
        return now - self._since

    def over(self) -> None:
        """Note that a thread could be had."""
        if self._since is not None:
            logger.info("%s has got its thread after %.1f s", self._who, monotonic() - self._since)
            self._since = None
