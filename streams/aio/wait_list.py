"""Those who wait until nothing is left to do."""

from __future__ import annotations

import asyncio


class WaitList:
    """Who waits for it. Owned by the event loop."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait for the next `tell`."""
        quiet: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(quiet)
        await quiet

    def tell(self) -> None:
        """Let all go on that wait."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
