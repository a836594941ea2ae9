"""Publishes the follow-up jobs of a handler that has returned."""

from __future__ import annotations

import asyncio
import logging
import time

from producers.record import JobRecord, compose
from schemas.codec import Codec
from schemas.errors import RegistryUnavailable
from streams.aio.blocking_calls import REGISTRY
from streams.api.context import FollowUp, JobContext
from streams.logs.safe_text import shown_id
from streams.ports.records import OutgoingRecord
from streams.ports.writer import RecordWriter
from streams.settings import Settings

logger = logging.getLogger(__name__)

#: Seconds before the schema registry is asked again.
_RETRY_AFTER = 1.0


class FollowUpPublisher:
    """Publishes what a handler has published with its context; its job is finished only when the broker has that."""

    def __init__(self, writer: RecordWriter, codec: Codec, settings: Settings) -> None:
        self._writer = writer
        self._codec = codec
        self._settings = settings

    async def publish(self, ctx: JobContext) -> None:
        """Publish the follow-up jobs of a handler that has returned."""
        records = [await self._compose_when_possible(follow_up, ctx) for follow_up in ctx.follow_ups or ()]
        sends = (self._writer.send(_outgoing(record)) for record in records)
        # One that is refused takes no other with it, nor ends the wait for them.
        for refused in await asyncio.gather(*sends, return_exceptions=True):
            if refused is not None:
                raise refused

    async def _compose_when_possible(self, follow_up: FollowUp, parent: JobContext) -> JobRecord:
        """Wait for a schema registry that is down: the handler is done, and must not be blamed."""
        if self._codec.registry is None:
            return self._compose(follow_up, parent)
        while True:
            try:
                return await REGISTRY.run(self._compose, follow_up, parent)
            except RegistryUnavailable as error:
                waiting = shown_id(parent.id)
                logger.error("job %s waits for the schema registry to publish a follow-up: %s", waiting, error)
                await asyncio.sleep(_RETRY_AFTER)

    def _compose(self, follow_up: FollowUp, parent: JobContext) -> JobRecord:
        return compose(
            self._codec,
            follow_up.payload,
            follow_up.options,
            namespace=self._settings.namespace,
            source=self._settings.producer.source,
            max_bytes=self._settings.producer.message_max_bytes,
            now_ms=int(time.time() * 1000),
            parent=parent.id,
        )


def _outgoing(record: JobRecord) -> OutgoingRecord:
    return OutgoingRecord(record.topic, record.key, record.value, list(record.headers))
