"""Tells people what became of each job: one log line an outcome."""

from __future__ import annotations

import logging

from streams.context import JobContext
from streams.core.outcome import Failed, Succeeded
from streams.handling import Record

logger = logging.getLogger("streams.outcome")


def report(queue: str, record: Record, ctx: JobContext | None, outcome: Succeeded | Failed, seconds: float) -> None:
    """Log an outcome; `ctx` is None for a record that could not be opened."""
    job_id = ctx.id if ctx else f"{record.topic}-{record.partition}-{record.offset}"
    key = "-" if record.key is None else record.key.decode("utf-8", "backslashreplace")
    if isinstance(outcome, Failed):
        reason = outcome.message.splitlines()[0][:300]
        logger.warning(
            "dead  %s %s key=%s %.0f ms: %s: %s", queue, job_id, key, seconds * 1000, outcome.error_type, reason
        )
    else:
        logger.info("done  %s %s key=%s %.0f ms", queue, job_id, key, seconds * 1000)
