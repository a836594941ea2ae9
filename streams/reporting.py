"""Tells people what became of each job: one log line an outcome."""

from __future__ import annotations

import logging

from streams.core.outcome import Failed, Succeeded
from streams.showing import shown, shown_id, shown_key

logger = logging.getLogger("streams.outcome")

#: Characters of an error's name, and of its message.
_LIMIT = 300


def report(queue: str, key: bytes | None, job_id: str, outcome: Succeeded | Failed, seconds: float) -> None:
    """Log an outcome."""
    job, milliseconds = shown_id(job_id), seconds * 1000
    if isinstance(outcome, Failed):
        reason = (outcome.message.splitlines() or [""])[0]
        logger.warning(
            "dead  %s %s key=%s %.0f ms: %s: %s",
            queue, job, shown_key(key), milliseconds, shown(outcome.error_type, _LIMIT), shown(reason, _LIMIT),
        )  # fmt: skip
    else:
        logger.info("done  %s %s key=%s %.0f ms", queue, job, shown_key(key), milliseconds)
