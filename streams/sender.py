"""Writes the worker's own records: each is sent until the broker has it."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.cluster import Cluster
from producers.options import PROMISES
from streams.errors import FollowUpRefused, SetupError
from streams.topics import add_partitions

logger = logging.getLogger("streams.sender")

#: What stays refused however often it is sent.
_LASTING = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,
    }
)

#: Seconds that a question about a topic may take.
_METADATA_TIMEOUT = 10.0

#: Seconds before a refused record is sent again.
_RETRY_AFTER = 1.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to write; the partition is Kafka's choice by key where it is None."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, Any]]
    partition: int | None = None


class Sender:
    """A producer whose `send` returns only when the broker has acknowledged the record.

    A record that is refused is logged and sent again for as long as the caller waits: what it stands for is not
    finished before. A topic that lacks a record's partition is given it. Opened and closed on the worker's event loop.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._config: dict[str, Any] = {
            **PROMISES,
            **cluster.client_config(),
            "client.id": "streams-sender",
            "compression.type": "lz4",
            "linger.ms": 2,
            "topic.metadata.propagation.max.ms": 5_000,
            # What was small enough to be read must not be too large to be written: only the topic's limit counts.
            "message.max.bytes": 1_000_000_000,
            "error_cb": _log_client_error,
        }
        self._producer: Producer | None = None
        self._closing = threading.Event()
        self._poller: threading.Thread | None = None
        self._growing = asyncio.Lock()

    async def send(self, record: Outgoing, *, give_up: bool = False) -> None:
        """Write a record; returns when the broker has it.

        With `give_up`, raises FollowUpRefused for an error that time does not heal.
        """
        while True:
            error = await self._try(record)
            if error is None:
                return
            if isinstance(error, KafkaError):
                if give_up and error.code() in _LASTING:
                    raise FollowUpRefused(f"{record.topic} did not take a job that this one published: {error.str()}")
                if error.code() == KafkaError._UNKNOWN_PARTITION and record.partition is not None:
                    # The queue's topic has grown and this one has not.
                    record = await self._make_room(record, record.partition)
            if isinstance(error, KafkaError) and error.fatal():
                # An idempotent client that has lost its place sends nothing more; a new one starts over.
                self._producer = None
            logger.error(
                "%s did not take a record: %s; sending it again in %g s. Its job stays unfinished until then.",
                record.topic, error, _RETRY_AFTER,
            )  # fmt: skip
            await asyncio.sleep(_RETRY_AFTER)

    async def _make_room(self, record: Outgoing, partition: int) -> Outgoing:
        """Give a topic the partition that a record is for; the record, as it is to be sent now."""
        try:
            async with self._growing:
                await asyncio.to_thread(self._add_partition, record.topic, partition)
        except KafkaException as error:
            logger.error("%s lacks partition %d, and cannot be given it: %s", record.topic, partition, error)
            if _refused(error):
                # Any partition is better than none.
                return replace(record, partition=None)
        except SetupError as error:
            logger.error("%s", error)
        return record

    def _add_partition(self, topic: str, partition: int) -> None:
        if not self._knows(topic, partition):
            add_partitions(self._cluster, topic, partition + 1)

    def _knows(self, topic: str, partition: int) -> bool:
        """Whether a topic has a partition; to ask also tells the producer."""
        return partition in self._open().list_topics(topic, timeout=_METADATA_TIMEOUT).topics[topic].partitions

    async def _try(self, record: Outgoing) -> KafkaError | BufferError | None:
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[KafkaError | None] = loop.create_future()

        def settle(error: KafkaError | None) -> None:
            if not delivered.done():
                delivered.set_result(error)

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            loop.call_soon_threadsafe(settle, error)

        anywhere = -1  # librdkafka's RD_KAFKA_PARTITION_UA
        try:
            self._open().produce(
                record.topic,
                record.value,
                record.key,
                partition=anywhere if record.partition is None else record.partition,
                headers=record.headers,
                on_delivery=on_delivery,
            )
        except BufferError as full:
            return full
        except KafkaException as refused:
            error = refused.args[0]
            return error if isinstance(error, KafkaError) else KafkaError(KafkaError._FAIL, str(error))
        return await delivered

    def _open(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(self._config, logger=logger)
        if self._poller is None:
            self._poller = threading.Thread(target=self._poll, name="sender-poll", daemon=True)
            self._poller.start()
        return self._producer

    def _poll(self) -> None:
        while not self._closing.is_set():
            producer = self._producer
            if producer is None:
                self._closing.wait(0.1)
            else:
                producer.poll(0.1)

    async def close(self) -> None:
        """Stop; records whose `send` has not returned may or may not reach the broker."""
        self._closing.set()
        if self._poller is not None:
            await asyncio.to_thread(self._poller.join)


def _refused(error: KafkaException) -> bool:
    """Whether a broker has said no, rather than nothing."""
    return isinstance(error.args[0], KafkaError) and error.args[0].code() > 0


def _log_client_error(error: KafkaError) -> None:
    logger.warning("Kafka client: %s", error)
