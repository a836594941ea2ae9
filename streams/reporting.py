"""Tells people what became of each job: one log line an outcome."""

from __future__ import annotations

import logging

from streams.core.outcome import Failed, Succeeded
from streams.showing import shown, shown_id, shown_key

logger = logging.getLogger("streams.outcome")

#: Lines about retries in a second, of one queue.
RETRY_LINES = 100

#: Characters of an error's name, and of its message.
_LIMIT = 300


class RetryReports:
    """Logs that jobs of a queue come back: a line for each, while they are so few that people can read them.

    When a service is down that many jobs need, lines of their own would fill the log, and cost more than the retries.
    """

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._until = 0.0
        self._lines = 0
        self._untold = 0

    def report(
        self, key: bytes | None, job_id: str, failed: Failed, seconds: float, *, wait: float, made: int, now: float
    ) -> None:
        """Log that a job comes back: in `wait` seconds, after so many attempts. `now` is monotonic."""
        self.sum_up(now)
        if self._lines >= RETRY_LINES:
            self._untold += 1
            return
        self._lines += 1
        logger.warning(
            "%s %s %s key=%s %.0f ms: %s; again in %.1f s, attempts made: %d",
            "later" if failed.snooze else "retry",
            self._queue, shown_id(job_id), shown_key(key), seconds * 1000, _told(failed), max(0.0, wait), made,
        )  # fmt: skip

    def sum_up(self, now: float) -> None:
        """Once a second, tell of the retries without a line; to be called now and then. `now` is monotonic."""
        if now < self._until:
            return
        if self._untold:
            logger.warning("retry %s: %d more jobs came back within a second", self._queue, self._untold)
        self._until = now + 1.0
        self._lines = self._untold = 0


def report(queue: str, key: bytes | None, job_id: str, outcome: Succeeded | Failed, seconds: float) -> None:
    """Log an outcome."""
    job, milliseconds = shown_id(job_id), seconds * 1000
    if isinstance(outcome, Failed):
        logger.warning(
            "dead  %s %s key=%s %.0f ms: %s", queue, job, shown_key(key), milliseconds, _told(outcome),
        )  # fmt: skip
    else:
        logger.info("done  %s %s key=%s %.0f ms", queue, job, shown_key(key), milliseconds)


def _told(failed: Failed) -> str:
    reason = (failed.message.splitlines() or [""])[0]
    return f"{shown(failed.error_type, _LIMIT)}: {shown(reason, _LIMIT)}"
