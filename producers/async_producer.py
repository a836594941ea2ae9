"""The producer for asyncio."""

import asyncio
import logging
from collections.abc import Generator, Iterable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

from producers.base_producer import BaseProducer, with_key
from producers.delivery.handle import Handle, LogPosition
from producers.delivery.kafka_client import KafkaClient
from producers.delivery.loops import Loops, OnLoop
from producers.delivery.report_poller import ReportPoller, poll_while_idle
from producers.errors import ProducersError
from producers.publish_options import OF_EACH, OF_ONE, PublishOptions, SharedOptions, check_names
from producers.record import JobRecord, route

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

_LOGGER = logging.getLogger("producers")


class AsyncJobHandle(Handle):
    """A job published by an AsyncJobProducer. `await handle` waits for delivery and returns where the job lies.

    Any number of tasks may await it, any number of times, on any event loop; cancelling one of them changes nothing for
    the others.
    """

    __slots__ = ("_loops", "_waiting")

    def __init__(self, id: str, topic: str, client: KafkaClient, loops: Loops) -> None:  # noqa: A002 - the word for it
        super().__init__(id, topic, client)
        self._loops = loops
        self._waiting: list[asyncio.Future[None]] | None = None

    def __await__(self) -> Generator[Any, None, LogPosition]:
        """Wait for delivery; raises DeliveryFailed."""
        if not self._settled():
            poller = self._loops.here().poller
            future = self._expect_report(poller)
            try:
                yield from future
            finally:
                poller.forget(future)
        return self._outcome()

    async def result(self, timeout: float | None = None) -> LogPosition:
        """Wait up to `timeout` seconds for delivery and return where the job lies.

        Raises DeliveryFailed, and DeliveryPending when the time has passed.
        """
        if not self._settled():
            poller = self._loops.here().poller
            future = self._expect_report(poller)
            try:
                await asyncio.wait([future], timeout=timeout)
            finally:
                poller.forget(future)
        if not self._settled():
            raise self._client.still_pending(f"job {self.id}", timeout)
        return self._outcome()

    def _expect_report(self, poller: ReportPoller) -> "asyncio.Future[None]":
        future = poller.expect(self)
        with self._client.awaited:
            if self._waiting is None:
                self._waiting = []
            self._waiting.append(future)
        if self._settled():  # In another thread, just now: it may have looked for us too early.
            _wake(future)
        return future

    def _report(self, error: "KafkaError | None", message: "Message | None") -> None:
        Handle._report(self, error, message)
        if self._waiting is not None:
            self._wake_all()

    def settle_lost(self) -> None:
        """Settle a job whose report will never come."""
        self._lose()
        self._wake_all()

    def _wake_all(self) -> None:
        with self._client.awaited:
            waiting, self._waiting = self._waiting, None
        for future in waiting or ():
            _wake(future)


def _wake(future: "asyncio.Future[None]") -> None:
    """Have the loop of a future settle it; nobody waits for it where that loop is closed."""
    loop = future.get_loop()
    if asyncio._get_running_loop() is loop:
        _settle(future)
        return
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, future)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class AsyncJobProducer(BaseProducer):
    """Publishes jobs from an event loop; keep it for the life of the program.

    Several loops may use one, each in its thread or one after the other, as where each call has a loop of its own.

    A delivery that fails is raised by awaiting its handle, by flush() or at the end of the async with block, whichever
    comes first, and logged in any case.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._loops = Loops(self._client)

    async def publish(self, payload: Any, **options: Unpack[PublishOptions]) -> AsyncJobHandle:
        """Publish one job and return without waiting for its delivery; waits only while the buffer is full.

        Jobs are sent in the order of the calls, also when several tasks wait. When this call is cancelled the job is
        not sent. Options and errors are those of JobProducer.publish().
        """
        model, queue = type(payload), options.get("queue")
        if self._loops.here().schemas.busy() or not self._is_prepared(model, queue):
            check_names("publish", OF_ONE, options)
            await self._prepare(model, queue)
        return await self._send(self._compose(payload, options))

    async def publish_many(self, jobs: Iterable[Any], **options: Unpack[SharedOptions]) -> list[AsyncJobHandle]:
        """Publish payloads, or pairs of a payload and its key, in their order, each with these options.

        As publish(), except that nothing is sent when any of them is refused. When this call is cancelled, the jobs
        not yet in the buffer are not sent.
        """
        check_names("publish_many", OF_EACH, options)
        jobs, queue = list(jobs), options.get("queue")
        for model in {type(payload) for payload, _ in map(with_key, jobs)}:
            if not self._is_prepared(model, queue):
                await self._prepare(model, queue)
        return [await self._send(record) for record in self._compose_all(jobs, options)]

    async def flush(self, timeout: float | None = None) -> None:
        """Wait up to `timeout` seconds until every job published so far is delivered.

        Raises DeliveryPending when the time has passed, DeliveryFailed or DeliveriesFailed for what nobody was told.
        """
        try:
            await asyncio.wait_for(self._idle(), timeout)
        except TimeoutError:
            raise self._client.still_pending(f"{self._client.pending():,} jobs", timeout) from None
        self._client.failures.raise_any()

    async def close(self, timeout: float | None = None) -> None:
        """Flush, and take no more jobs. Raises as flush() does."""
        try:
            await self.flush(timeout)
        finally:
            self._client.close()
            # Its loop has handed out reports so far, and may end now.
            if not self._client.is_looked_after:
                poll_while_idle(self._client)

    async def __aenter__(self) -> "AsyncJobProducer":
        """Use the producer until the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close, and raise what failed; where the block has raised already, that goes first and ours is logged."""
        try:
            await self.close()
        except ProducersError as failure:
            if error is None:
                raise
            _LOGGER.error("%s", failure)

    async def _send(self, record: JobRecord) -> AsyncJobHandle:
        handle = AsyncJobHandle(record.id, record.topic, self._client, self._loops)
        here = self._loops.here()
        if not here.buffer.may_pass() or not self._client.offer(record, handle):
            await self._send_in_turn(record, handle, here)
        here.poller.start()
        return handle

    async def _send_in_turn(self, record: JobRecord, handle: AsyncJobHandle, here: OnLoop) -> None:
        """Wait for those before us, let the loop do its other work, and wait for room."""
        async with here.buffer.place():
            while not self._client.offer(record, handle):
                await here.poller.look()

    def _is_prepared(self, model: type, queue: str | None) -> bool:
        return self._codec.registry is None or self._codec.is_prepared(model, route(model, self._namespace, queue)[1])

    async def _prepare(self, model: type, queue: str | None) -> None:
        """Ask the registry off the loop, once for each type; jobs published meanwhile keep their order."""
        async with self._loops.here().schemas.place():
            await self._codec.prepare(model, route(model, self._namespace, queue)[1])

    async def _idle(self) -> None:
        while self._client.pending():
            await self._loops.here().poller.look()
