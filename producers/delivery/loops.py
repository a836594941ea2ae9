"""What an asyncio producer keeps for each event loop that uses it."""

import asyncio

from producers.delivery.kafka_client import KafkaClient
from producers.delivery.line import Line
from producers.delivery.report_poller import ReportPoller


class OnLoop:
    """The part of a producer that belongs to one event loop."""

    __slots__ = ("buffer", "loop", "poller", "schemas")

    def __init__(self, client: KafkaClient, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.buffer = Line(loop)  # of those who wait for room in the buffer
        self.schemas = Line(loop)  # of those who wait for the schema registry
        self.poller = ReportPoller(client, loop, on_look=self.buffer.turned)


class Loops:
    """The event loops that use one producer, one after the other or at the same time, each in its thread.

    A loop that is closed, or stands still, leaves nothing behind that another would wait for.
    """

    def __init__(self, client: KafkaClient) -> None:
        self._client = client
        self._all: dict[asyncio.AbstractEventLoop, OnLoop] = {}
        self._last: OnLoop | None = None

    def here(self) -> OnLoop:
        """Return what belongs to the loop that runs; raises RuntimeError where none does."""
        loop = asyncio.get_running_loop()
        last = self._last
        if last is None or last.loop is not loop:
            last = self._last = self._of(loop)
        return last

    def _of(self, loop: asyncio.AbstractEventLoop) -> OnLoop:
        found = self._all.get(loop)
        if found is None:
            for other in list(self._all):
                if other.is_closed():
                    self._all.pop(other, None)
            found = self._all[loop] = OnLoop(self._client, loop)
        return found
