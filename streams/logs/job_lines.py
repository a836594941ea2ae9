"""Tells people what became of each job: one log line an outcome. Its classes listen to the worker's JobEvents."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from streams.core.retry.failure import Failure
from streams.logs.safe_text import shown, shown_id, shown_key
from streams.ports.events import JobInfo, JobListener

logger = logging.getLogger("streams.outcome")

#: Lines in a second about the retries of one queue, and as many about its dead letters.
LINES = 100

#: Characters of an error's name, and of its message.
_LIMIT = 300

_MORE_RETRIES = "retry %s: %d more jobs came back within a second"
_MORE_DEAD = "dead  %s: %d more jobs became dead letters within a second"


class _Lines:
    """So many lines a second of one kind, and how many there were beyond them."""

    def __init__(self, summary: str, queue: str) -> None:
        self._summary = summary
        self._queue = queue
        self._until = 0.0
        self._count = 0

    def count(self, now: float) -> bool:
        """Count one more. Returns whether it has a line of its own."""
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


class FailureLines(JobListener):
    """Logs what becomes of failed jobs: a line for each, while they are so few of a queue that people can read them.

    When a service is down that many jobs need, or somebody publishes what are no jobs, lines of their own would fill
    the log, and cost more than the jobs. `clock` is monotonic.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        #: By queue.
        self._retries: dict[str, _Lines] = {}
        self._dead: dict[str, _Lines] = {}

    def parked(self, job: JobInfo, failure: Failure, seconds: float, wait: float, made: int) -> None:
        """Log that a job comes back: in `wait` seconds, after so many attempts."""
        lines = self._retries.get(job.queue)
        if lines is None:
            lines = self._retries[job.queue] = _Lines(_MORE_RETRIES, job.queue)
        if lines.count(self._clock()):
            logger.warning(
                "%s %s %s key=%s %.0f ms: %s; again in %.1f s, attempts made: %d",
                "later" if failure.snooze else "retry",
                job.queue, shown_id(job.id), shown_key(job.key), seconds * 1000, _told(failure), max(0.0, wait), made,
            )  # fmt: skip

    def dead(self, job: JobInfo, failure: Failure, seconds: float) -> None:
        """Log that a job has become a dead letter."""
        lines = self._dead.get(job.queue)
        if lines is None:
            lines = self._dead[job.queue] = _Lines(_MORE_DEAD, job.queue)
        if lines.count(self._clock()):
            logger.warning(
                "dead  %s %s key=%s %.0f ms: %s",
                job.queue, shown_id(job.id), shown_key(job.key), seconds * 1000, _told(failure),
            )  # fmt: skip

    def tick(self, now: float) -> None:
        """Once a second, tell of those without a line."""
        for lines in (*self._retries.values(), *self._dead.values()):
            lines.sum_up(now)


class DoneLines(JobListener):
    """Logs each job that is done."""

    def done(self, job: JobInfo, seconds: float) -> None:
        """Log that a job is done."""
        logger.info("done  %s %s key=%s %.0f ms", job.queue, shown_id(job.id), shown_key(job.key), seconds * 1000)


def _told(failed: Failure) -> str:
    reason = (failed.message.splitlines() or [""])[0]
    return f"{shown(failed.error_type, _LIMIT)}: {shown(reason, _LIMIT)}"
