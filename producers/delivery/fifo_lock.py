"""Makes tasks go one at a time, in the order they came."""

import asyncio


class FifoLock:
    """A lock that keeps its queue in order: a newcomer that finds it busy must go through it too."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._within = 0

    def busy(self) -> bool:
        """Return whether a task holds the lock or waits for it."""
        return self._within > 0

    async def __aenter__(self) -> None:
        """Wait for one's turn."""
        self._within += 1
        try:
            await self._lock.acquire()
        except BaseException:
            self._within -= 1
            raise

    async def __aexit__(self, *_error: object) -> None:
        """Let the next one in."""
        self._within -= 1
        self._lock.release()
