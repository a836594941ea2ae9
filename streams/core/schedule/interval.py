"""Firings at equal distances, without drift: each is counted from one anchor, and none from the firing before it."""

from __future__ import annotations

from dataclasses import dataclass

#: No distance is longer. Milliseconds: ten years.
LONGEST_MS = 10 * 366 * 86_400_000

_UNITS = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000))


class IntervalInvalid(ValueError):
    """An interval cannot be used; the message says what could."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Fires at `anchor_ms` and every `every_ms` before and after it, in epoch milliseconds. Raises IntervalInvalid."""

    every_ms: int
    anchor_ms: int = 0

    def __post_init__(self) -> None:
        if not _is_whole(self.every_ms) or not 1 <= self.every_ms <= LONGEST_MS:
            raise IntervalInvalid(
                f"an interval is a whole number of milliseconds from 1 to {LONGEST_MS} (ten years), not"
                f" {self.every_ms!r}; use a cron expression for days and months"
            )
        if not _is_whole(self.anchor_ms):
            raise IntervalInvalid(f"the anchor of an interval is whole epoch milliseconds, not {self.anchor_ms!r}")

    def after_ms(self, moment_ms: int) -> int:
        """The first firing after a moment."""
        return self.up_to_ms(moment_ms) + self.every_ms

    def up_to_ms(self, moment_ms: int) -> int:
        """The last firing that is not after a moment."""
        return moment_ms - (moment_ms - self.anchor_ms) % self.every_ms

    def count(self, after_ms: int, up_to_ms: int, most: int | None = None) -> int:
        """How many firings there are after one moment and up to another: all of them, since this takes no walk."""
        del most
        return max(0, (self.up_to_ms(up_to_ms) - self.up_to_ms(after_ms)) // self.every_ms)

    def words(self) -> str:
        """The distance as people say it: "every 30 seconds", "every hour"."""
        unit, size = next((each for each in _UNITS if self.every_ms % each[1] == 0), ("second", 1000))
        number = self.every_ms / size
        return f"every {unit}" if number == 1 else f"every {number:.10g} {unit}s"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
