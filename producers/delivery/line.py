"""The order in which tasks of one event loop send their jobs, where they cannot all go on at once."""

import asyncio
from collections import OrderedDict
from itertools import islice
from types import TracebackType

#: Jobs that are sent before the loop does its other work: about a millisecond's.
_BATCH = 256


class Line:
    """Tasks that wait to send a job, in the order in which they came; a newcomer that finds some stands behind them.

    They are called many at once, so that a long line moves as fast as jobs can be sent, and the loop does its other
    work in between. Whoever stands first goes; who was called too early waits to be called again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # Whoever gives up leaves from anywhere, and many may do so at once; a plain dict would look for its first one
        # past all that have left.
        self._places: OrderedDict[Place, None] = OrderedDict()
        self._calling = False
        self._sent = 0  # jobs since the loop did its other work

    def may_pass(self) -> bool:
        """Count one more job. Returns whether it may be sent at once."""
        self._sent += 1
        return self._sent <= _BATCH and not self._places

    def busy(self) -> bool:
        """Return whether somebody stands in it."""
        return bool(self._places)

    def turned(self) -> None:
        """Note that the loop has done its other work."""
        self._sent = 0

    def place(self) -> "Place":
        """Return a place for an `async with` block, which begins when its turn has come."""
        return Place(self, self._loop)

    def _first(self) -> "Place":
        return next(iter(self._places))

    def _join(self, place: "Place") -> None:
        self._places[place] = None
        self._call_soon()

    def _leave(self, place: "Place") -> None:
        del self._places[place]
        self._call_soon()

    def _call_soon(self) -> None:
        """Call the next with the next turn of the loop, unless the first has been called and goes on."""
        if self._places and not self._calling and not self._first().called.done():
            self._calling = True
            self._loop.call_soon(self._call)

    def _call(self) -> None:
        self._calling = False
        self._sent = min(_BATCH, len(self._places))
        for place in islice(self._places, _BATCH):
            if not place.called.done():
                place.called.set_result(None)


class Place:
    """The place of one task in a Line."""

    def __init__(self, line: Line, loop: asyncio.AbstractEventLoop) -> None:
        self._line = line
        self._loop = loop
        self.called: asyncio.Future[None] = loop.create_future()

    async def __aenter__(self) -> None:
        """Wait for one's turn."""
        self._line._join(self)
        try:
            await self.called
            while self._line._first() is not self:
                self.called = self._loop.create_future()
                await self.called
        except BaseException:
            self._line._leave(self)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Let the next one go."""
        self._line._leave(self)
