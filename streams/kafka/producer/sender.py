"""Writes the worker's own records: each is sent until the broker has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from itertools import cycle
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from producers.cluster import Cluster
from producers.delivery import lost_brokers
from producers.delivery.client_config import PROMISES
from schemas.headers import CE_ID
from streams.aio.blocking_calls import KAFKA
from streams.errors import FollowUpRefused, SetupError
from streams.kafka.admin.topic_changes import add_partitions, raise_limit
from streams.kafka.admin.topics import RECORD_ROOM
from streams.kafka.errors import RETRY_AFTER, kafka_error
from streams.kafka.producer.client import ProducerClient
from streams.logs.resend_lines import ResentReports
from streams.ports.records import OutgoingRecord
from streams.ports.writer import Append, OnAppended

logger = logging.getLogger(__name__)

#: The topic does not exist.
_NOT_THERE = frozenset({KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART})

#: What stays refused however often it is sent.
_LASTING = frozenset(
    {
        *_NOT_THERE,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,
    }
)

#: A batch is larger than the topic takes. One record of it may be, or all of them together.
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})

#: Bytes of a batch, at the most: librdkafka's own default.
_BATCH_BYTES = 1_000_000

#: How long a client tries to write a record; then another takes its place. Milliseconds.
_IN_TIME_MS = 120_000

#: What a header costs beside its name and its value: their lengths. Bytes.
_HEADER_ROOM = 10


#: Creates a topic anew, and returns whether it has.
RestoreTopic = Callable[[str], bool]


class ReliableSender:
    """Writes the worker's records, each until the broker has acknowledged it: what it stands for is unfinished before.

    A record that is refused is logged and sent again for as long as the caller waits. A topic that lacks a record's
    partition is given it, and one that takes no record so large is told to. A client that has failed for good is
    replaced. Opened and closed on the worker's event loop.

    What is written to one partition by calls that begin one after the other lies there in this order, as long as
    nothing is sent again. What is sent again lies behind what was sent meanwhile:

    - a record that the broker has refused (or its whole batch, as larger than the topic takes), or for which the
      client's queue was full;
    - one that the broker has not acknowledged within two minutes, or that was on its way when the client failed, as it
      is held to have then. The broker may have it all the same, or get it late: it may lie there twice, and the
      first copy even behind the second.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        batch_bytes: int = _BATCH_BYTES,
        retry_after: float = RETRY_AFTER,
        restore_topic: RestoreTopic = lambda topic: False,
    ) -> None:
        """A sender for a cluster.

        batch_bytes    of several records in one batch: a topic with a lower limit would refuse them all
        retry_after    seconds before a record is sent again, and between two clients
        restore_topic  creates a topic anew that is gone, unless that is another's to do; whether it has. Blocks
        """
        self._cluster = cluster
        self._restore_topic = restore_topic
        self._retry_after = retry_after
        self._config: dict[str, Any] = {
            **PROMISES,
            **lost_brokers.OPTIONS,
            "message.timeout.ms": _IN_TIME_MS,
            **cluster.client_config(),
            "client.id": "streams-sender",
            "compression.type": "lz4",
            "linger.ms": 2,
            "batch.size": min(batch_bytes, _BATCH_BYTES),
            "topic.metadata.propagation.max.ms": 5_000,
            # What was small enough to be read must not be too large to be written: only the topic's limit counts.
            "message.max.bytes": 1_000_000_000,
            # The worker bounds what it holds. What finds the client's queue full would only be tried again and again.
            "queue.buffering.max.messages": 0,
        }
        self._batching = _Clients(self._config, retry_after)
        #: For records of which a batch was refused as too large: each goes in one of its own.
        self._alone = _Clients({**self._config, "batch.num.messages": 1}, retry_after)
        self._growing = asyncio.Lock()
        self._reports = ResentReports()

    def append(self, record: OutgoingRecord, done: OnAppended, *, needs_offset: bool) -> Append:
        """Write a record until the broker has it, and call `done` then; no task is made as long as nothing goes wrong.

        needs_offset  whether its offset must be known: it is sent until it is, and may lie there twice
        """
        append = _Append(self._batching, self._append_again, record, done, needs_offset=needs_offset)
        append.start()
        return append

    async def _append_again(
        self, record: OutgoingRecord, refused: KafkaException | None, *, needs_offset: bool
    ) -> int | None:
        """Go on with the writing of a record. Returns its offset, None where that is not known and not needed.

        refused  why it was not taken; None if the broker has it, and has not said where
        """
        offset = None if refused is None else await self._deliver(record, refused=refused)
        others = cycle((self._alone, self._batching))
        while needs_offset and offset is None:
            self._reports.report(record.topic, "the broker has it, and does not say at which offset")
            await asyncio.sleep(self._retry_after)
            # To a log that was made anew a client's numbers may be those of records that it has: it says so each time.
            offset = await self._deliver(record, clients=next(others))
        return offset

    async def send(self, record: OutgoingRecord) -> None:
        """Write a record; returns when the broker has it. Raises FollowUpRefused for what time does not heal."""
        await self._deliver(record, give_up=True)

    async def _deliver(
        self,
        record: OutgoingRecord,
        *,
        give_up: bool = False,
        refused: KafkaException | None = None,
        clients: _Clients | None = None,
    ) -> int | None:
        """Write a record. Returns its offset, None where the broker has not told it.

        give_up  whether to raise FollowUpRefused for an error that time does not heal
        refused  why it was not taken at a first try
        clients  whose client is to begin, where it is not the usual one
        """
        clients = clients or self._batching
        while True:
            if refused is None:
                try:
                    return await clients.open().write(record)
                except KafkaException as raised:
                    refused = raised
            if clients is self._batching and kafka_error(refused).code() in _TOO_LARGE:
                # The topic refuses the whole batch, whichever of its records makes it so large.
                clients, refused = self._alone, None
                continue
            record = await self._before_next(refused, record, give_up=give_up)
            refused = None

    async def _before_next(self, refused: KafkaException, record: OutgoingRecord, *, give_up: bool) -> OutgoingRecord:
        """Wait before a record is sent again. Returns the record, as it is to be sent then."""
        error, why = kafka_error(refused), str(refused)
        if give_up and error.code() in _LASTING:
            advice = "; a worker that serves the queue creates it" if error.code() in _NOT_THERE else ""
            raise FollowUpRefused(
                f"{record.topic} did not take a job that this one published: {error.str()}{advice} ({_named(record)})"
            )
        if error.code() == KafkaError._UNKNOWN_PARTITION and record.partition is not None:
            # The queue's topic has grown and this one has not.
            record, why = await self._add_partition(record, record.partition)
        elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            why = await self._raise_limit(record)
        elif error.code() in _NOT_THERE:
            why = await self._restore(record.topic)
        self._reports.report(record.topic, why)
        await asyncio.sleep(self._retry_after)
        return record

    async def _add_partition(self, record: OutgoingRecord, partition: int) -> tuple[OutgoingRecord, str]:
        """Give a topic the partition that a record is for. Returns the record, as it is to be sent now, and why so."""
        lacks = f"{record.topic} lacks partition {partition}"
        try:
            async with self._growing:
                if partition >= (await self.partitions(record.topic) or 0):
                    await KAFKA.run(add_partitions, self._cluster, record.topic, partition + 1)
        except KafkaException as error:
            if record.anywhere and kafka_error(error).code() > 0:  # A broker has said no, rather than nothing.
                record = record._replace(partition=None)
            return record, f"{lacks}, and cannot be given it: {error}"
        except SetupError as error:
            return record, f"{lacks}: {error}"
        return record, f"{lacks}, and has been given it"

    async def _raise_limit(self, record: OutgoingRecord) -> str:
        """Have a topic of the worker's own take a record that is too large for it. Returns why it is to be sent again.

        The queue's topic has taken it: packed better than it is packed here, or as its limit was higher.
        """
        size = _size(record)
        large = f"{record.topic} takes no record of {size} bytes"
        try:
            async with self._growing:
                limit = await KAFKA.run(raise_limit, self._cluster, record.topic, size)
        except KafkaException as error:
            return f"{large}, and cannot be told to: {error}. Set its max.message.bytes to {size} or more"
        return f"{large}; its max.message.bytes is {limit} now"

    async def _restore(self, topic: str) -> str:
        """Have a topic made anew that somebody has deleted. Returns why its record is to be sent again."""
        gone = f"there is no topic {topic}"
        try:
            async with self._growing:
                restored = await KAFKA.run(self._restore_topic, topic)
        except (SetupError, KafkaException) as error:
            return f"{gone}, and it cannot be made anew: {error}"
        return f"{gone}: it was deleted, and is made anew" if restored else f"{gone}: create it"

    async def partitions(self, topic: str) -> int | None:
        """Returns how many partitions a topic has now; None where the cluster does not say, or has no such topic."""
        try:
            return await self._batching.open().partitions(topic)
        except (KafkaException, KeyError):
            return None

    def renew(self, topic: str) -> None:
        """Replace the clients, since a topic was deleted and created again.

        A client may go on with the numbers that it gave to the records of the old one, and then none of the new one's
        gets through before two minutes have passed (librdkafka's issue 4898).
        """
        for clients in (self._batching, self._alone):
            clients.renew(f"{topic} was deleted and created again")

    def warm_up(self) -> None:
        """Have a client at hand: it needs half a second before it sends its first record."""
        self._batching.open()

    async def close(self) -> None:
        """Stop; records on their way may or may not reach the broker."""
        await self._batching.close()
        await self._alone.close()


class _Append:
    """One record, written until the broker has it."""

    __slots__ = ("_again", "_cancelled", "_clients", "_done", "_needs_offset", "_record", "_task")

    def __init__(
        self,
        clients: _Clients,
        again: Callable[..., Coroutine[Any, Any, int | None]],
        record: OutgoingRecord,
        done: OnAppended,
        *,
        needs_offset: bool,
    ) -> None:
        self._clients = clients
        self._again = again
        self._record = record
        self._done = done
        self._needs_offset = needs_offset
        self._task: asyncio.Task[int | None] | None = None
        self._cancelled = False

    def start(self) -> None:
        """Hand the record to the client."""
        try:
            self._clients.open().start(self._record, self._answered)
        except KafkaException as refused:
            self._send_again(refused)

    def cancel(self) -> None:
        """Wait for it no longer; the broker may get it all the same."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def _answered(self, error: KafkaError | None, offset: int | None) -> None:
        if self._cancelled:
            return
        if error is None and not (self._needs_offset and offset is None):
            self._done(None, offset)
        else:
            self._send_again(None if error is None else KafkaException(error))

    def _send_again(self, refused: KafkaException | None) -> None:
        again = self._again(self._record, refused, needs_offset=self._needs_offset)
        self._task = asyncio.ensure_future(again)
        self._task.add_done_callback(self._sent_again)

    def _sent_again(self, task: asyncio.Task[int | None]) -> None:
        if self._cancelled or task.cancelled():
            return
        error = task.exception()
        self._done(error, None if error else task.result())


class _Clients:
    """One client after the other: who has failed is replaced, and not in a rush."""

    def __init__(self, config: dict[str, Any], retry_after: float) -> None:
        self._config = config
        self._retry_after = retry_after
        self._client: ProducerClient | None = None
        self._next_client = 0.0

    def open(self) -> ProducerClient:
        """The client that works; a failed one, whose writes fail, where the last one has failed just now."""
        client = self._client
        if client is None or (client.failed and monotonic() >= self._next_client):
            client = self._client = ProducerClient(self._config)
            self._next_client = monotonic() + self._retry_after
        return client

    def renew(self, why: str) -> None:
        """Have another client from now on."""
        if self._client is not None and not self._client.failed:
            self._client.end(why)

    async def close(self) -> None:
        """Stop; see Client.close."""
        if self._client is not None:
            await self._client.close()


def _named(record: OutgoingRecord) -> str:
    """What tells a follow-up from its siblings."""
    job = dict(record.headers).get(CE_ID) or b""
    return f"job {job.decode('utf-8', 'replace')}, {_size(record) - RECORD_ROOM:,} bytes"


def _size(record: OutgoingRecord) -> int:
    """Bytes of a record, if packing it saves nothing."""
    headers = sum(len(name.encode()) + len(value or b"") + _HEADER_ROOM for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + RECORD_ROOM
