"""Bounds how many lines of one kind the log gets, where there may be thousands a second."""

from __future__ import annotations


class Throttle:
    """At most so many log lines of one kind in each period; those beyond are counted, for a summary.

    Whoever logs asks `allow` before each line, and when `is_over` says so calls `next_period` for what to sum up.

        if throttle.is_over(now) and (more := throttle.next_period(now)):
            logger.error("%d more", more)
        if throttle.allow():
            logger.error("a line")

    lines   in a period
    period  seconds

    All times are monotonic. Belongs to one thread.
    """

    __slots__ = ("_count", "_end", "lines", "period")

    def __init__(self, lines: int, period: float = 1.0) -> None:
        self.lines = lines
        self.period = period
        #: When the period ends. The first one begins with the first `next_period`.
        self._end = float("-inf")
        self._count = 0

    def is_over(self, now: float) -> bool:
        """Whether the period has ended, and the next one is to begin."""
        return now >= self._end

    def next_period(self, now: float) -> int:
        """Begin a period. Returns how many lines the one before has kept back."""
        kept_back = max(0, self._count - self.lines)
        self._count = 0
        self._end = now + self.period
        return kept_back

    def allow(self) -> bool:
        """Count one more line. Returns whether it may be written."""
        self._count += 1
        return self._count <= self.lines
