"""How long a worker may be sure of its partitions: until a session has passed since the last heartbeat.

A worker that stands still for longer (a paused machine, a suspended process, a broker that cannot be reached) may have
been expelled and learns of it late. Until a heartbeat tells that it is still a member it starts no job, since its
partitions may have a new owner that runs the same keys.
"""

from __future__ import annotations

import asyncio


class GroupLease:
    """Until when jobs may be started, in seconds of the monotonic clock; without bound before the first heartbeat."""

    def __init__(self, session: float = float("inf")) -> None:
        self._session = session
        #: Read by runners on the worker's loop, written through `renew` from the thread of the heartbeats.
        self.until = float("inf")
        self._waiting: list[asyncio.Future[None]] = []

    def renew(self, sent: float) -> None:
        """Note that the group has answered a heartbeat sent at `sent`. May be called from any thread."""
        self.until = sent + self._session
        # The worker's loop may be telling them right now.
        waiting = self._waiting
        if waiting:
            waiting[0].get_loop().call_soon_threadsafe(self._tell)

    async def renewed(self) -> None:
        """Wait for the next heartbeat that is answered."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
