"""How long a failed job waits before it is tried again: the shapes of backoff, and chance on top of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

#: No wait is longer. Seconds: ten years.
LONGEST = 10 * 366 * 86_400.0


class PolicyInvalid(ValueError):
    """A retry policy cannot work; the message says what would."""

    # Dead letters name it so, and are asked for by this name, whatever module holds it.
    __module__ = "streams.core.backoff"


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same wait every time, in seconds (or a timedelta, which becomes seconds)."""

    seconds: float | timedelta

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", to_seconds("Fixed: seconds", self.seconds))

    def __call__(self, attempt: int) -> float:
        """Seconds to wait after this many attempts."""
        del attempt
        seconds: Any = self.seconds
        return float(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """A first wait in seconds (or a timedelta), and every further one `factor` times the one before."""

    first: float | timedelta = 1.0
    factor: float = 4.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", to_seconds("Exponential: first", self.first))
        if not _is_number(self.factor) or not 1 <= self.factor <= _LARGEST_FACTOR:
            raise PolicyInvalid(
                f"Exponential: factor must be a number from 1 to {_LARGEST_FACTOR}, so that waits do not shrink, not"
                f" {self.factor!r}; use Fixed(seconds) for waits that stay the same"
            )

    def __call__(self, attempt: int) -> float:
        """Seconds to wait after this many attempts, at most LONGEST."""
        first: Any = self.first
        try:
            # Of whole numbers, Python would work out the power in full.
            return min(LONGEST, float(first) * float(self.factor) ** (attempt - 1))
        except OverflowError:
            return LONGEST if first else 0.0


#: Attempts made so far, from 1 on, to seconds.
Backoff = Callable[[int], float]

_LARGEST_FACTOR = 1000


def check_seconds(what: str, seconds: float, *, least: float = 0.0) -> None:
    """Raise PolicyInvalid unless this is a number of seconds that a job can wait."""
    if not _is_number(seconds) or not least <= seconds <= LONGEST:
        raise PolicyInvalid(
            f"{what} must be a number of seconds from {least:g} to {LONGEST:.0f} (ten years), or a timedelta, not"
            f" {seconds!r}"
        )


def to_seconds(what: str, time: float | timedelta, *, least: float = 0.0) -> float:
    """The seconds of a number or a timedelta. Raises PolicyInvalid for what a job cannot wait."""
    seconds = time.total_seconds() if isinstance(time, timedelta) else time
    check_seconds(what, seconds, least=least)
    return float(seconds)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


#: By the name of a jitter, the share of a wait that chance cannot take away.
JITTERS = {"none": 1.0, "equal": 0.5, "full": 0.0}


def jittered(wait: float, jitter: str, random_share: float) -> float:
    """The wait with chance in it, where `random_share` is from 0 up to 1.

    "full" waits between nothing and all of it, "equal" between half and all of it, "none" all of it; see "Exponential
    Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    certain = wait * JITTERS[jitter]
    return min(wait, certain + (wait - certain) * random_share)
