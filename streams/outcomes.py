"""Makes outcomes durable: dead letters, and the follow-up jobs of a handler."""

from __future__ import annotations

import asyncio
import logging
import time

from producers.record import JobRecord, compose
from schemas.codec import Codec
from schemas.errors import RegistryUnavailable
from schemas.headers import with_failure
from streams.blocking import REGISTRY
from streams.context import FollowUp, JobContext
from streams.core.outcome import Failed
from streams.outgoing import Outgoing
from streams.sender import Sender
from streams.settings import Settings
from streams.showing import shown_id
from streams.work import WorkLane, place_of

logger = logging.getLogger("streams.outcomes")

#: Seconds before the schema registry is asked again.
_RETRY_AFTER = 1.0


class Outcomes:
    """What a job leaves behind. It is finished only when the broker has that."""

    def __init__(self, sender: Sender, codec: Codec, settings: Settings) -> None:
        self._sender = sender
        self._codec = codec
        self._settings = settings

    @staticmethod
    def letter(lane: WorkLane, failed: Failed, made: int | None) -> Outgoing:
        """The dead letter of the head of a lane: the same partition, key and raw value, with why it is there.

        made  attempts that were made; None if the headers say it still
        """
        record, partition = lane.head, lane.owner
        headers = with_failure(
            record.headers,
            origin=place_of(lane),
            error_type=failed.error_type,
            error_message=failed.message,
            error_stack=failed.stack,
            now_ms=int(time.time() * 1000),
            attempt=made,
            first_failed_ms=0 if lane.entry is None else lane.entry.failed_ms,
        )
        return Outgoing(f"{partition.topic}.dead", record.key, record.value, headers, partition.number, anywhere=True)

    async def publish(self, ctx: JobContext) -> None:
        """Publish the follow-up jobs of a handler that has returned."""
        records = [await self._compose_when_possible(follow_up, ctx) for follow_up in ctx.follow_ups or ()]
        sends = (self._sender.send(_outgoing(record), give_up=True) for record in records)
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
            namespace=self._settings.namespace,
            source=self._settings.producer.source,
            max_bytes=self._settings.producer.message_max_bytes,
            now_ms=int(time.time() * 1000),
            parent=parent.id,
            id=follow_up.id,
            key=follow_up.key,
            queue=follow_up.queue,
            headers=follow_up.headers,
            timeout=follow_up.timeout,
            expires_in=follow_up.expires_in,
            max_attempts=follow_up.max_attempts,
        )


def _outgoing(record: JobRecord) -> Outgoing:
    return Outgoing(record.topic, record.key, record.value, list(record.headers))
