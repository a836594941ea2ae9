"""A slice of time that the runners of a queue share, so that jobs which never wait let the loop do other things.

Each queue has its own: the runner that wakes first begins it, and would leave nothing of a common one to other queues.

A flood of records that are no jobs is more than that: each costs as much as a job, nobody waits for it, and a loop that
only turns leaves the consumer's thread little of the interpreter, and other queues no records. So between two slices
of them the loop has time to wait.
"""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic

from streams.aio.wait_list import WaitList

#: How long runners may go on, all together, within one iteration of the loop. Seconds.
SLICE = 0.005

#: How long they go on with records that are no jobs, and how long they wait then. Seconds.
JUNK_SLICE, REST = 0.001, 0.003


class LoopSlice:
    """A few milliseconds of the event loop that the runners of one executor share, before they let others go on."""

    __slots__ = ("_rests", "_waiting", "end")

    def __init__(self) -> None:
        #: When the slice that has begun is used up, by the monotonic clock; 0.0 if none has begun.
        self.end = 0.0
        #: Whether the loop is to wait before the next slice, and who waits for that one.
        self._rests = False
        self._waiting = WaitList()

    def begin(self, now: float, until: float = inf) -> bool:
        """Begin a slice, unless one has begun. Returns whether some of it is left.

        now    by the monotonic clock
        until  when it ends at the latest
        """
        if not self.end:
            self.end = min(now + SLICE, until)
            asyncio.get_running_loop().call_soon(self._next)
        return now < self.end

    def rest(self, now: float) -> None:
        """Have this slice be a short one, and the next one begin only when the loop has waited for a while."""
        self.begin(now)
        if not self._rests:
            self._rests = True
            self.end = min(self.end, now + JUNK_SLICE)

    async def next(self) -> None:
        """Wait for the next slice."""
        if self._rests:
            await self._waiting.wait()
        else:
            await asyncio.sleep(0)

    def _next(self) -> None:
        if self._rests:
            asyncio.get_running_loop().call_later(max(0.0, self.end - monotonic()) + REST, self._begin)
        else:
            self.end = 0.0

    def _begin(self) -> None:
        self._rests = False
        self.end = 0.0
        self._waiting.wake_all()
