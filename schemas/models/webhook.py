# ruff: noqa
"""Models of the webhook queue's jobs.

Generated from the schemas in ../jobs/webhook by python -m schemas.generate; do not edit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Final

SCHEMAS: Final = "../jobs/webhook"


@dataclass(frozen=True, kw_only=True)
class DeliverWebhook:
    """Delivers one event to a URL by HTTP POST."""

    JOB_TYPE: ClassVar[str] = "jobs.webhook.DeliverWebhook"

    url: str
    """Where the event is posted."""

    event: str
    """Name of the event, such as order.paid."""

    body: str
    """The request's body, a JSON text."""

    headers: dict[str, str] = field(default_factory=dict)
    """Additional request headers."""

    secret_name: str | None = None
    """Which configured secret signs the request; none: it is not signed."""
