"""E-mail over SMTP."""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.models.email import SendEmail
from streams import JobContext, Queue
from streams.jobs.support.message import build_message
from streams.jobs.support.smtp import deliver, smtp_settings

emails = Queue("email", partitions=12)


@emails.job(SendEmail, timeout=30)
async def send_email(job: SendEmail, ctx: JobContext) -> None:
    """Send a mail. Another run of the same job sends it under the same Message-ID."""
    settings = smtp_settings()
    message = build_message(job, ctx.id, settings.sender, datetime.now(UTC))
    answer = await deliver(message, settings)
    ctx.logger.debug("sent to %d recipients: %s", len(job.to), answer)
