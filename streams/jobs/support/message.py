"""Makes the e-mail of a job."""

from __future__ import annotations

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from schemas.models.email import SendEmail
from streams.jobs.support.addresses import parse_address, parse_addresses
from streams.jobs.support.errors import NotConfigured, Refused
from streams.jobs.support.identity import plain_id


def build_message(job: SendEmail, job_id: str, default_sender: str | None, now: datetime) -> EmailMessage:
    """The message of a job: text, HTML as an alternative, and a Message-ID that every run of the job shares.

    `now` needs a time zone. Raises Refused for addresses and subjects that no mail can have, and NotConfigured when
    neither the job nor the settings name a sender.
    """
    sender = _sender(job.sender, default_sender)
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = parse_addresses(job.to, "to")
    if job.reply_to is not None:
        message["Reply-To"] = parse_address(job.reply_to, "reply_to")
    message["Subject"] = _subject(job.subject)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{plain_id(job_id)}@{_ascii_domain(sender)}>"
    message["X-Job-Id"] = plain_id(job_id)
    message.set_content(job.text)
    if job.html is not None:
        message.add_alternative(job.html, subtype="html")
    return message


def _sender(of_job: str | None, default: str | None) -> Address:
    if of_job is not None:
        return parse_address(of_job, "sender")
    if default is None:
        raise NotConfigured("the job names no sender and STREAMS_SMTP_SENDER is not set: set one of them")
    return parse_address(default, "STREAMS_SMTP_SENDER")


def _subject(text: str) -> str:
    # EmailMessage refuses line ends as well; here the message says which field it was, and other controls are caught.
    if any(ord(character) < 32 and character != "\t" for character in text):
        raise Refused(f"subject must be one line of text, not {text[:100]!r}")
    return text


def _ascii_domain(sender: Address) -> str:
    return sender.domain.encode("idna").decode() if not sender.domain.isascii() else sender.domain
