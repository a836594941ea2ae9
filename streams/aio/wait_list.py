"""Tasks that wait for one event."""

from __future__ import annotations

import asyncio


class WaitList:
    """Tasks that wait for one event: `wait` suspends the caller, `wake_all` resumes everyone. Owned by the event loop.

    With it a stop and a rebalance wait for running jobs, and runners for the next heartbeat.
    """

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait for the next `wake_all`."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        await woken

    def wake_all(self) -> None:
        """Resume all that wait."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def wake_all_soon(self) -> None:
        """Have the loop of those that wait call `wake_all`. May be called from any thread."""
        waiting = self._waiting  # The loop may be waking them right now.
        if waiting:
            waiting[0].get_loop().call_soon_threadsafe(self.wake_all)
