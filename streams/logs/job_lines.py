"""Tells people what became of each job: one log line an outcome."""

from __future__ import annotations

import logging

from streams.core.retry.failure import Failure
from streams.logs.safe_text import shown, shown_id, shown_key

logger = logging.getLogger("streams.outcome")

#: Lines in a second about the retries of one queue, and as many about its dead letters.
LINES = 100

#: Characters of an error's name, and of its message.
_LIMIT = 300


class _Lines:
    """So many lines a second of one kind, and how many there were beyond them."""

    def __init__(self, summary: str, queue: str) -> None:
        self._summary = summary
        self._queue = queue
        self._until = 0.0
        self._count = 0

    def allow(self, now: float) -> bool:
        """Count one more; whether it has a line of its own."""
        self.sum_up(now)
        self._count += 1
        return self._count <= LINES

    def sum_up(self, now: float) -> None:
        """Once a second, tell of those without a line."""
        if now < self._until:
            return
        if self._count > LINES:
            logger.warning(self._summary, self._queue, self._count - LINES)
        self._until = now + 1.0
        self._count = 0


class FailureReports:
    """Logs what becomes of a queue's failed jobs: a line for each, while they are so few that people can read them.

    When a service is down that many jobs need, or somebody publishes what are no jobs, lines of their own would fill
    the log, and cost more than the jobs. All times are monotonic.
    """

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._retries = _Lines("retry %s: %d more jobs came back within a second", queue)
        self._dead = _Lines("dead  %s: %d more jobs became dead letters within a second", queue)

    def retry(
        self, key: bytes | None, job_id: str, failed: Failure, seconds: float, *, wait: float, made: int, now: float
    ) -> None:
        """Log that a job comes back: in `wait` seconds, after so many attempts."""
        if self._retries.allow(now):
            logger.warning(
                "%s %s %s key=%s %.0f ms: %s; again in %.1f s, attempts made: %d",
                "later" if failed.snooze else "retry",
                self._queue, shown_id(job_id), shown_key(key), seconds * 1000, _told(failed), max(0.0, wait), made,
            )  # fmt: skip

    def dead(self, key: bytes | None, job_id: str, failed: Failure, seconds: float, *, now: float) -> None:
        """Log that a job has become a dead letter, `seconds` after its start."""
        if self._dead.allow(now):
            logger.warning(
                "dead  %s %s key=%s %.0f ms: %s",
                self._queue, shown_id(job_id), shown_key(key), seconds * 1000, _told(failed),
            )  # fmt: skip

    def sum_up(self, now: float) -> None:
        """Once a second, tell of those without a line; to be called now and then."""
        self._retries.sum_up(now)
        self._dead.sum_up(now)


def report_done(queue: str, key: bytes | None, job_id: str, seconds: float) -> None:
    """Log that a job is done."""
    logger.info("done  %s %s key=%s %.0f ms", queue, shown_id(job_id), shown_key(key), seconds * 1000)


def _told(failed: Failure) -> str:
    reason = (failed.message.splitlines() or [""])[0]
    return f"{shown(failed.error_type, _LIMIT)}: {shown(reason, _LIMIT)}"
