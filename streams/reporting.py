"""Tells people what became of each job: one log line an outcome."""

from __future__ import annotations

import logging

from streams.core.outcome import Failed, Succeeded
from streams.showing import shown, shown_id, shown_key

logger = logging.getLogger("streams.outcome")

#: Characters of an error's name, and of its message.
_LIMIT = 300


def report_retry(
    queue: str, key: bytes | None, job_id: str, failed: Failed, seconds: float, *, wait: float, made: int
) -> None:
    """Log that a job comes back: in `wait` seconds, after so many attempts."""
    logger.warning(
        "%s %s %s key=%s %.0f ms: %s; again in %.1f s, attempts made: %d",
        "later" if failed.snooze else "retry",
        queue, shown_id(job_id), shown_key(key), seconds * 1000, _told(failed), max(0.0, wait), made,
    )  # fmt: skip


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
