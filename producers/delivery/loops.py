"""What an asyncio producer keeps for each event loop that uses it."""

import asyncio

from producers.delivery.fifo_lock import FifoLock
from producers.delivery.kafka_client import KafkaClient
from producers.delivery.report_poller import ReportPoller

_JOBS_BETWEEN_YIELDS = 256  # about a millisecond's work


class OnLoop:
    """The part of a producer that belongs to one event loop."""

    __slots__ = ("buffer", "loop", "poller", "schemas", "since_yield")

    def __init__(self, client: KafkaClient, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.poller = ReportPoller(client, loop)
        self.schemas = FifoLock()  # of those who wait for the schema registry
        self.buffer = FifoLock()  # of those who wait for room in the buffer
        self.since_yield = 0  # jobs

    def count_job(self) -> bool:
        """Count one more job since the loop could do its other work. Returns whether that has become due."""
        self.since_yield += 1
        return self.since_yield > _JOBS_BETWEEN_YIELDS

    async def yield_if_due(self) -> None:
        """Let the loop do its other work, if enough jobs have been counted."""
        if self.since_yield > _JOBS_BETWEEN_YIELDS:
            self.since_yield = 0
            await asyncio.sleep(0)


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
