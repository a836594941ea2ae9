"""The producer for programs without an event loop."""

import logging
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from producers.base_producer import BaseProducer
from producers.delivery.handle import JobHandle
from producers.delivery.idle_poller import poll_while_idle
from producers.errors import ProducersError
from producers.record import JobRecord, Seconds, UserHeaders

_LOGGER = logging.getLogger("producers")


class JobProducer(BaseProducer):
    """Publishes jobs. Any number of threads may share one; keep it for the life of the program.

    A delivery that fails is raised by its handle's result(), by flush() or at the end of the with block, whichever
    comes first, and logged in any case.
    """

    def publish(
        self,
        payload: Any,
        *,
        key: str | None = None,
        queue: str | None = None,
        id: str | None = None,  # noqa: A002 - the word for it, everywhere
        headers: UserHeaders | None = None,
        timeout: Seconds | None = None,
        expires_in: Seconds | None = None,
        max_attempts: int | None = None,
    ) -> JobHandle:
        """Publish one job and return without waiting for its delivery; blocks only while the buffer is full.

        Jobs of one `key` run one after another in the order published. `timeout` (of each attempt) and `expires_in`
        (from now until its start) are seconds; `max_attempts` replaces that of the job's retry policy. Raises
        PayloadInvalid, JobRefused, ProducerClosed and ProducerBroken.
        """
        return self._send(
            self._compose(
                payload,
                key,
                queue=queue,
                id=id,
                headers=headers,
                timeout=timeout,
                expires_in=expires_in,
                max_attempts=max_attempts,
            )
        )

    def publish_many(
        self,
        jobs: Iterable[Any],
        *,
        queue: str | None = None,
        headers: UserHeaders | None = None,
        timeout: Seconds | None = None,
        expires_in: Seconds | None = None,
        max_attempts: int | None = None,
    ) -> list[JobHandle]:
        """Publish payloads, or pairs of a payload and its key, in their order.

        As publish(), except that nothing is sent when any of them is refused.
        """
        records = self._compose_all(
            jobs, queue=queue, headers=headers, timeout=timeout, expires_in=expires_in, max_attempts=max_attempts
        )
        return [self._send(record) for record in records]

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
