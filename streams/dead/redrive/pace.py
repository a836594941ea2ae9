"""Keeps a redrive to so many jobs a second."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Lets one job go every so often, the first at once."""

    def __init__(
        self,
        rate: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`rate` is jobs a second; None lets all of them go."""
        self.rate = rate
        self._clock = clock
        self._sleep = sleep
        self._next = clock()

    def wait(self) -> None:
        """Return when the next job may go; blocks."""
        if self.rate is None:
            return
        while (left := self._next - self._clock()) > 0:
            self._sleep(left)
        # Time that was lost to the broker is not made up for: the queue's workers would get it all at once.
        self._next = max(self._next, self._clock()) + 1 / self.rate
