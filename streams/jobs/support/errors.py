"""Why a shipped job cannot be done. Those that are marked are PermanentErrors too, and never tried again.

ShippedJobError
├── NotConfigured         a setting that the job needs is missing
├── Refused *             the job asks for something that cannot or must not be done
├── MailRefused *         the mail server will never take the mail
├── RecipientsRefused *   the mail server took the mail for some of its recipients only
└── DeliveryRejected      the receiver of a webhook did not accept it
    └── ReceiverGone *    and wants no more of them
"""

from __future__ import annotations

from collections.abc import Mapping

from streams.errors import PermanentError


class ShippedJobError(Exception):
    """Base of the errors of the shipped jobs."""


class NotConfigured(ShippedJobError):
    """A setting that the job needs is missing; the message names it."""


class Refused(ShippedJobError, PermanentError, ValueError):
    """The job asks for something that cannot or must not be done; a second attempt would not help."""


class MailRefused(ShippedJobError, PermanentError):
    """The mail server will never take the mail: its sender, its recipients or its content."""


class RecipientsRefused(ShippedJobError, PermanentError):
    """The mail server took the mail for some of its recipients only; another attempt would send it to them again."""

    def __init__(self, refused: Mapping[str, str]) -> None:
        self.refused = dict(refused)
        reasons = "; ".join(f"{address}: {reason}" for address, reason in self.refused.items())
        super().__init__(f"the mail server refused these recipients, the others have the mail: {reasons}")


class DeliveryRejected(ShippedJobError):
    """The receiver of a webhook did not accept it."""


class ReceiverGone(DeliveryRejected, PermanentError):
    """The receiver of a webhook wants no more of them: it answered 410, as Standard Webhooks has it."""
