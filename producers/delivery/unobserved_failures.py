"""Keeps the failures nobody has looked at yet, so that none stays silent."""

import logging
import time
from collections.abc import Hashable
from contextlib import suppress

from producers.errors import DeliveriesFailed, DeliveryFailed

_LOGGER = logging.getLogger("producers")
_KEPT = 1_000  # With nobody looking for days, failures may not fill the memory; each is counted all the same.
_SECONDS_BETWEEN_LINES = 1.0


class UnobservedFailures:
    """Failed deliveries not yet raised to anyone. Any thread may call this."""

    def __init__(self) -> None:
        self._unobserved: dict[Hashable, DeliveryFailed] = {}
        self._beyond = 0
        self._unlogged = 0
        self._next_line = 0.0

    def add(self, handle: Hashable, failure: DeliveryFailed) -> None:
        """Take in a failure, and log it, at most once a second."""
        if len(self._unobserved) < _KEPT:
            self._unobserved[handle] = failure
        else:
            self._beyond += 1
        self._log(failure)

    def observe(self, handle: Hashable) -> None:
        """Forget a failure: its owner is being told."""
        self._unobserved.pop(handle, None)

    def raise_any(self) -> None:
        """Raise what nobody has been told yet, once: DeliveryFailed for one job, DeliveriesFailed for several."""
        unobserved, self._unobserved = self._unobserved, {}
        count, self._beyond = len(unobserved) + self._beyond, 0
        if count == 1:
            raise next(iter(unobserved.values()))
        if unobserved:
            raise DeliveriesFailed(list(unobserved.values()), count)

    def _log(self, failure: DeliveryFailed) -> None:
        self._unlogged += 1
        now = time.monotonic()
        if now < self._next_line:
            return
        more = f" ({self._unlogged - 1:,} more since the last such line)" if self._unlogged > 1 else ""
        # A log handler that fails must not take the reports of other jobs with it.
        with suppress(Exception):
            _LOGGER.error("%s%s", failure, more)
        self._unlogged, self._next_line = 0, now + _SECONDS_BETWEEN_LINES
