"""How long a worker may be sure of its partitions: until a session has passed since the last heartbeat.

A worker that stands still for longer (a paused machine, a suspended process, a broker that cannot be reached) may have
been expelled and learns of it late. Until a heartbeat tells that it is still a member it starts no job, since its
partitions may have a new owner that runs the same keys.
"""

from __future__ import annotations

from streams.aio.wait_list import WaitList


class GroupLease:
    """Until when a worker may start jobs, in seconds of the monotonic clock; without bound before the first heartbeat.

    The consumer's thread renews it, and runners look at `until` before each job.
    """

    def __init__(self, session: float = float("inf")) -> None:
        self._session = session
        #: Read by runners on the worker's loop, written through `renew` from the thread of the heartbeats.
        self.until = float("inf")
        self._waiting = WaitList()

    def renew(self, sent: float) -> None:
        """Note that the group has answered a heartbeat sent at `sent`. May be called from any thread."""
        self.until = sent + self._session
        self._waiting.wake_all_soon()

    async def renewed(self) -> None:
        """Wait for the next heartbeat that is answered."""
        await self._waiting.wait()
