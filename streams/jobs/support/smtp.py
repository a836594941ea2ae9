"""The mail server: its settings, and sending to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from enum import Enum
from functools import lru_cache

import aiosmtplib
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streams.jobs.support.errors import MailRefused, RecipientsRefused
from streams.jobs.support.mail_text import parse_address

#: Replies from here on are for good (RFC 5321, 4.2.1).
_PERMANENT = 500

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class Tls(Enum):
    """How the connection to the mail server is protected."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


class SmtpSettings(BaseSettings):
    """The mail server (`STREAMS_SMTP_*`)."""

    model_config = SettingsConfigDict(
        env_prefix="STREAMS_SMTP_", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    host: str = "127.0.0.1"
    #: 465 with TLS, 587 with STARTTLS, 25 without either when unset.
    port: int | None = Field(default=None, ge=1, le=65535)
    tls: Tls = Tls.NONE
    username: str | None = None
    password: SecretStr | None = None
    #: The From address of jobs that name none.
    sender: str | None = None
    #: Seconds for each step of the conversation.
    timeout: float = Field(default=15.0, gt=0, allow_inf_nan=False)

    @field_validator("sender")
    @classmethod
    def _sender_is_an_address(cls, sender: str | None) -> str | None:
        if sender is not None:
            parse_address(sender, "STREAMS_SMTP_SENDER")
        return sender

    @model_validator(mode="after")
    def _credentials_are_complete_and_safe(self) -> SmtpSettings:
        if (self.username is None) != (self.password is None):
            raise ValueError("STREAMS_SMTP_USERNAME and STREAMS_SMTP_PASSWORD go together: set both or neither")
        if self.password is not None and self.tls is Tls.NONE and self.host not in _LOCAL:
            raise ValueError("a password is not sent in the clear: set STREAMS_SMTP_TLS to starttls or tls")
        return self


@lru_cache(maxsize=1)
def smtp_settings() -> SmtpSettings:
    """The settings, read from the environment once."""
    return SmtpSettings()


async def deliver(message: EmailMessage, settings: SmtpSettings) -> str:
    """Hand a message to the mail server and return what it answered.

    Raises aiosmtplib.SMTPException when the server cannot be reached or refuses for now, MailRefused when it refuses
    for good, and RecipientsRefused when it refuses some of the recipients.
    """
    password = settings.password
    with _for_good():
        refused, answer = await aiosmtplib.send(
            message,
            hostname=settings.host,
            port=settings.port,
            username=settings.username,
            password=password.get_secret_value() if password is not None else None,
            use_tls=settings.tls is Tls.TLS,
            start_tls=settings.tls is Tls.STARTTLS,
            timeout=settings.timeout,
        )
    if refused:
        raise RecipientsRefused({address: f"{reason.code} {reason.message}" for address, reason in refused.items()})
    return answer


@contextmanager
def _for_good() -> Iterator[None]:
    """Tell refusals of this mail for good from those that pass; a refused login is the worker's, not the mail's."""
    try:
        yield
    except aiosmtplib.SMTPRecipientsRefused as error:
        if all(each.code >= _PERMANENT for each in error.recipients):
            reasons = "; ".join(f"{each.recipient}: {each.code} {each.message}" for each in error.recipients)
            raise MailRefused(f"the mail server refused all recipients: {reasons}") from error
        raise
    except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as error:
        if error.code >= _PERMANENT:
            raise MailRefused(f"the mail server refused the mail: {error.code} {error.message}") from error
        raise
