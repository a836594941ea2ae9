"""Why a shipped job cannot be done.

ShippedJobError
├── NotConfigured         a setting that the job needs is missing
├── Refused               the job asks for something that cannot or must not be done
├── RecipientsRefused     the mail server took the mail for some of its recipients only
└── DeliveryRejected      the receiver of a webhook did not accept it
"""

from __future__ import annotations

from collections.abc import Mapping


class ShippedJobError(Exception):
    """Base of the errors of the shipped jobs."""


class NotConfigured(ShippedJobError):
    """A setting that the job needs is missing; the message names it."""


class Refused(ShippedJobError, ValueError):
    """The job asks for something that cannot or must not be done; a second attempt would not help."""


class RecipientsRefused(ShippedJobError):
    """The mail server took the mail for some of its recipients only."""

    def __init__(self, refused: Mapping[str, str]) -> None:
        self.refused = dict(refused)
        reasons = "; ".join(f"{address}: {reason}" for address, reason in self.refused.items())
        super().__init__(f"the mail server refused these recipients, the others have the mail: {reasons}")


class DeliveryRejected(ShippedJobError):
    """The receiver of a webhook did not accept it."""
