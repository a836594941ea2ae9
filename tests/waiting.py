"""Waits for a condition: the only way in which these tests pass the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], *, within: float, what: str | Callable[[], str], every: float = 0.02) -> T:
    """Return the first true result of a condition, which is asked `every` so many seconds.

    Raises TimeoutError after `within` seconds, saying `what` did not happen.
    """
    give_up = time.monotonic() + within
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > give_up:
            raise TimeoutError(f"not within {within:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(every)
