"""Looks for delivery reports on an event loop."""

import asyncio

from producers.client import Client

_SHORTEST = 0.001  # seconds between two looks
_LONGEST = 0.02


class Pump:
    """Hands out reports while jobs are under way, and rests when none is.

    A look costs microseconds, where a thread that polls would fight over the interpreter's lock for every report.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pause = _SHORTEST
        self._waiting: list[asyncio.Future[None]] = []

    def start(self) -> None:
        """Look for reports until no job is under way; called after each job, so it is cheap when already running."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._pause = _SHORTEST
            self._loop.call_later(self._pause, self._look, self._loop)

    async def look(self) -> None:
        """Wait until the next look for reports is over."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self.start()
        await future

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        # The pause grows while nothing happens, so that an absent broker costs nothing.
        self._pause = _SHORTEST if self._client.poll(0) else min(self._pause * 1.5, _LONGEST)
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        if waiting or self._client.pending():
            loop.call_later(self._pause, self._look, loop)
        else:
            self._loop = None
