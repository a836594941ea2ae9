"""A slice of time that the runners of a queue share, so that jobs which never wait let the loop turn.

Each queue has its own: the runner that wakes first begins it, and would leave nothing of a common one to other queues.
"""

from __future__ import annotations

import asyncio

#: How long runners may go on, all together, within one turn of the loop. Seconds.
SLICE = 0.005


class LoopSlice:
    """A few milliseconds of the event loop that the runners of one executor share, before they let others go on."""

    __slots__ = ("_end",)

    def __init__(self) -> None:
        self._end = 0.0

    def used_up(self, now: float) -> bool:
        """Begin a slice, unless one has begun. Returns whether it is used up. `now` is monotonic."""
        if not self._end:
            self._end = now + SLICE
            asyncio.get_running_loop().call_soon(self._next)
        return now >= self._end

    def _next(self) -> None:
        self._end = 0.0
