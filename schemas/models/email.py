# ruff: noqa
"""Models of the email queue's jobs.

Generated from the schemas in ../jobs/email by python -m schemas.generate; do not edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

SCHEMAS: Final = "../jobs/email"


@dataclass(frozen=True, kw_only=True)
class SendEmail:
    """Sends one e-mail over SMTP."""

    JOB_TYPE: ClassVar[str] = "jobs.email.SendEmail"

    to: list[str]
    """Addresses of the recipients; at least one."""

    subject: str
    """The subject line."""

    text: str
    """The body as plain text."""

    html: str | None = None
    """The same body as HTML, sent as an alternative."""

    reply_to: str | None = None
    """Where answers go, if not to the sender."""

    sender: str | None = None
    """The From address, if not the configured one."""
