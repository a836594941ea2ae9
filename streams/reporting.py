"""Tells people what became of each job: one log line an outcome."""

from __future__ import annotations

import logging

from streams.core.outcome import Failed, Succeeded

logger = logging.getLogger("streams.outcome")


def report(queue: str, key: bytes | None, job_id: str, outcome: Succeeded | Failed, seconds: float) -> None:
    """Log an outcome."""
    shown = "-" if key is None else key.decode("utf-8", "backslashreplace")
    if isinstance(outcome, Failed):
        reason = (outcome.message.splitlines() or [""])[0][:300]
        logger.warning(
            "dead  %s %s key=%s %.0f ms: %s: %s", queue, job_id, shown, seconds * 1000, outcome.error_type, reason
        )
    else:
        logger.info("done  %s %s key=%s %.0f ms", queue, job_id, shown, seconds * 1000)
