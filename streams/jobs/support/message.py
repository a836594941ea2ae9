"""Makes the e-mail of a job."""

from __future__ import annotations

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from schemas.models.email import SendEmail
from streams.jobs.support.errors import NotConfigured
from streams.jobs.support.mail_text import body_text, one_line, parse_address, parse_addresses
from streams.jobs.support.plain_ids import plain_id

#: What a line of a mail may hold (RFC 5322, 2.1.1). Characters.
_LONGEST_SUBJECT = 998


def build_message(job: SendEmail, job_id: str, default_sender: str | None, now: datetime) -> EmailMessage:
    """The message of a job: text, HTML as an alternative, and a Message-ID that every run of the job shares.

    `now` needs a time zone. Raises Refused for addresses and texts that no mail can have, and NotConfigured when
    neither the job nor the settings name a sender.
    """
    sender = _sender(job.sender, default_sender)
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = parse_addresses(job.to, "to")
    if job.reply_to is not None:
        message["Reply-To"] = parse_address(job.reply_to, "reply_to")
    message["Subject"] = one_line(job.subject, "subject", _LONGEST_SUBJECT)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{plain_id(job_id)}@{sender.domain}>"
    message["X-Job-Id"] = plain_id(job_id)
    message.set_content(body_text(job.text, "text"))
    if job.html is not None:
        message.add_alternative(body_text(job.html, "html"), subtype="html")
    return message


def _sender(of_job: str | None, default: str | None) -> Address:
    if of_job is not None:
        return parse_address(of_job, "sender")
    if default is None:
        raise NotConfigured("the job names no sender and STREAMS_SMTP_SENDER is not set: set one of them")
    return parse_address(default, "STREAMS_SMTP_SENDER")
