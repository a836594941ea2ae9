"""The producer for programs without an event loop."""

import logging
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Unpack

from producers.base_producer import BaseProducer
from producers.delivery.handle import JobHandle
from producers.delivery.report_poller import poll_while_idle
from producers.errors import ProducersError
from producers.publish_options import OF_EACH, PublishOptions, SharedOptions, check_names
from producers.record import JobRecord

_LOGGER = logging.getLogger("producers")


class JobProducer(BaseProducer):
    """Publishes jobs. Any number of threads may share one; keep it for the life of the program.

    A delivery that fails is raised by its handle's result(), by flush() or at the end of the with block, whichever
    comes first, and logged in any case.
    """

    def publish(self, payload: Any, **options: Unpack[PublishOptions]) -> JobHandle:
        """Publish one job and return without waiting for its delivery; blocks only while the buffer is full.

        PublishOptions has the options. Raises PayloadInvalid, JobRefused, ProducerClosed and ProducerBroken, and
        TypeError for an option that there is not.
        """
        return self._send(self._compose(payload, options))

    def publish_many(self, jobs: Iterable[Any], **options: Unpack[SharedOptions]) -> list[JobHandle]:
        """Publish payloads, or pairs of a payload and its key, in their order, each with these options.

        As publish(), except that nothing is sent when any of them is refused.
        """
        check_names("publish_many", OF_EACH, options)
        return [self._send(record) for record in self._compose_all(jobs, options)]

    def flush(self, timeout: float | None = None) -> None:
        """Wait up to `timeout` seconds until every job published so far is delivered.

        Raises DeliveryPending when the time has passed, DeliveryFailed or DeliveriesFailed for what nobody was told.
        """
        self._client.flush(timeout)
        self._client.failures.raise_any()

    def close(self, timeout: float | None = None) -> None:
        """Flush, and take no more jobs. Raises as flush() does."""
        try:
            self.flush(timeout)
        finally:
            self._client.close()

    def __enter__(self) -> "JobProducer":
        """Use the producer until the end of the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close, and raise what failed; where the block has raised already, that goes first and ours is logged."""
        try:
            self.close()
        except ProducersError as failure:
            if error is None:
                raise
            _LOGGER.error("%s", failure)

    def _send(self, record: JobRecord) -> JobHandle:
        client = self._client
        handle = JobHandle(record.id, record.topic, client)
        while not client.offer(record, handle):
            client.poll(0.05)
        if not client.is_looked_after:
            poll_while_idle(client)
        return handle
