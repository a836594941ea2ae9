"""Reads partitions from given offsets on to their ends, once: for retry topics on assignment, and for dead letters.

It joins no group and commits nothing. Calls block, so that a worker makes them in a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Protocol

from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as KafkaPartition

from producers.cluster import Cluster
from schemas.headers import Headers
from streams.ports.records import TopicPartition


class Message(Protocol):
    """What is used of a message of confluent-kafka's."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> Any: ...
    def value(self) -> Any: ...
    def headers(self) -> Any: ...
    def timestamp(self) -> Any: ...
    def error(self) -> KafkaError | None: ...


class Chunk(NamedTuple):
    """Messages of one partition in their order; or that its end was reached; or why it cannot be read just now.

    end    the offset at which the partition goes on, once its end was reached; behind markers of transactions
    error  what the client says; it goes on trying all the same
    """

    tp: TopicPartition
    messages: list[Message]
    end: int | None = None
    error: KafkaError | None = None


def open_consumer(
    cluster: Cluster,
    group: str,
    *,
    client_id: str,
    logger: logging.Logger,
    fetch_bytes: int,
    queued_kbytes: int,
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
    on_error: Callable[[KafkaError], None] | None = None,
) -> Consumer:
    """A consumer that joins no group and commits nothing by itself.

    group                       wanted by the client, and used by who commits or asks for commits on their own
    fetch_bytes, queued_kbytes  bounds of one fetch of a partition, and of what the client holds of all
    on_error                    told of what is wrong with brokers; it is logged by the client where it is None
    """
    config: dict[str, Any] = {
        **cluster.client_config(),
        "group.id": group,
        "client.id": client_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        # What has left the log meanwhile cannot be read; what is left can.
        "auto.offset.reset": "earliest",
        "isolation.level": isolation,
        "fetch.message.max.bytes": fetch_bytes,
        "queued.max.messages.kbytes": queued_kbytes,
    }
    if on_error is not None:
        config["error_cb"] = on_error
    return Consumer(config, logger=logger)


class LogReader:
    """Reads some partitions from their starts on; `unread` are those whose ends have not been reached.

    What comes behind an end, as a log may grow, is handed out as well.
    """

    def __init__(self, consumer: Consumer, starts: Mapping[TopicPartition, int]) -> None:
        self._consumer = consumer
        self.unread = set(starts)
        consumer.assign([KafkaPartition(*tp, offset) for tp, offset in starts.items()])

    def take(self, most: int, wait: float) -> list[Chunk]:
        """Take what has come, up to so many messages; waits for the first, so many seconds. Returns it in chunks."""
        first = self._consumer.poll(wait)
        if first is None:
            return []
        chunks: list[Chunk] = []
        for message in (first, *self._consumer.consume(most - 1, 0)):
            self._add(message, chunks)
        return chunks

    def _add(self, message: Any, chunks: list[Chunk]) -> None:
        tp = TopicPartition(message.topic() or "", message.partition() or 0)
        error = message.error()
        if error is None:
            if not chunks or chunks[-1].tp != tp or not chunks[-1].messages:
                chunks.append(Chunk(tp, []))
            chunks[-1].messages.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            self.unread.discard(tp)
            chunks.append(Chunk(tp, [], end=message.offset()))
        else:
            chunks.append(Chunk(tp, [], error=error))


@contextmanager
def reading(consumer: Consumer, starts: Mapping[TopicPartition, int]) -> Iterator[LogReader]:
    """Read partitions with a consumer, which is closed then."""
    try:
        yield LogReader(consumer, starts)
    finally:
        consumer.close()


def headers_of(message: Message) -> Headers | None:
    """The headers of a message; None where the name of one is no UTF-8.

    Kafka's protocol wants UTF-8 names, and its brokers do not look: nothing of such headers can be had here.
    """
    try:
        return tuple(message.headers() or ())
    except UnicodeDecodeError:
        return None
