"""Garbage collections beside the interpreter's own, which a worker has made rare.

The interpreter looks for cycles by the number of new objects, and knows nothing of their size: fifty thousand may be a
few failed runs away, or an hour. What failed runs hold in cycles is therefore looked for soon after the failures. Only
the youngest objects are looked at, and not after an error that nobody else refers to and that refers to no other: to
look after each of thousands of failures would take a tenth of the worker's time.
"""

from __future__ import annotations

import asyncio
import gc
from sys import getrefcount

from streams.core.retry.failure import is_a


def _references_of_a_caught_error() -> int:
    try:
        int("no number")
    except ValueError as error:
        return getrefcount(error)
    raise AssertionError


#: What `getrefcount` says of an error in the function that has caught it, where nobody else refers to it.
UNSHARED = _references_of_a_caught_error()

#: Whatever the class of an error makes of such a question.
_context_of = BaseException.__dict__["__context__"].__get__
_cause_of = BaseException.__dict__["__cause__"].__get__

#: How soon after a failure. Seconds.
_SOON = 0.05


class Sweep:
    """Collects what failed runs have left, once for all that fail within a moment. Owned by the event loop."""

    def __init__(self) -> None:
        self._due = False

    def after(self, references: int, error: BaseException) -> None:
        """Collect in a moment if a failed run may have left a cycle: one with its error, or with another behind that.

        references  what `getrefcount` has said of the error where it was caught
        """
        if (
            references > UNSHARED
            or _context_of(error) is not None
            or _cause_of(error) is not None
            or is_a(error, BaseExceptionGroup)
        ):
            self.soon()

    def soon(self) -> None:
        """Collect in a moment."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(_SOON, self._collect)

    def _collect(self) -> None:
        self._due = False
        collect_young()


def collect_young() -> None:
    """Collect the youngest objects, among them whatever cycles recent runs have left."""
    gc.collect(0)
