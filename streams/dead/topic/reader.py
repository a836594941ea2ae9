"""Reads the dead-letter topic. Every call opens a client of its own and closes it; each blocks."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from producers.cluster import Cluster
from schemas.headers import Headers, Origin
from streams.dead.errors import BrokerSilent
from streams.dead.letter import Letter

logger = logging.getLogger(__name__)

#: Seconds for a request, and for a broker that was there to go on answering.
REQUEST_TIMEOUT = 10.0
_SILENCE = 30.0

#: What passes by itself, such as while a partition's leader moves.
_PASSING = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
    }
)

#: Reading on costs less than jumping, up to so many records.
_WORTH_A_JUMP = 500


class Message(Protocol):
    """What is used of a consumer's message."""

    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> Any: ...
    def value(self) -> Any: ...
    def headers(self) -> Any: ...
    def timestamp(self) -> Any: ...


def open_consumer(cluster: Cluster, group: str) -> Consumer:
    """A consumer that joins no group and commits nothing by itself."""
    return Consumer(
        {
            **cluster.client_config(),
            "group.id": group,
            "client.id": "streams-dead",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            # What has left the log meanwhile cannot be read; what is left can.
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": 2_000_000,
            "queued.max.messages.kbytes": 16_384,
        },
        logger=logger,
    )


class DeadLog:
    """The log of one dead-letter topic."""

    def __init__(self, cluster: Cluster, group: str, topic: str) -> None:
        self.topic = topic
        self._cluster = cluster
        self._group = group

    def bounds(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        """The first offset that is still there and the one after the last, of each partition."""
        found = {}
        with self._consumer() as consumer:
            for partition in partitions:
                with asking():
                    ends = consumer.get_watermark_offsets(TopicPartition(self.topic, partition), REQUEST_TIMEOUT)
                    if min(ends) < 0:
                        raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE, "the broker does not tell"))
                found[partition] = ends
        return found

    def scan(self, partition: int, start: int, end: int) -> Iterator[Letter]:
        """The letters from an offset to before another, in their order."""
        with self._consumer() as consumer:
            consumer.assign([TopicPartition(self.topic, partition, start)])
            for message in _messages(consumer):
                if message.offset() >= end:
                    return
                yield as_letter(message, self.topic)
                if message.offset() + 1 >= end:
                    return

    def fetch(self, partition: int, offsets: Sequence[int]) -> dict[int, Letter]:
        """The letters at some offsets, by offset; those that have left the log are missing."""
        found: dict[int, Letter] = {}
        for stretch in _stretches(sorted(offsets)):
            wanted = set(stretch)
            for letter in self.scan(partition, stretch[0], stretch[-1] + 1):
                if letter.offset in wanted:
                    found[letter.offset] = letter
        return found

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        with closing(open_consumer(self._cluster, self._group)) as consumer:
            yield consumer


def _messages(consumer: Consumer) -> Iterator[Any]:
    """Messages up to the end of the assigned partition."""
    give_up = time.monotonic() + _SILENCE
    while True:
        message = consumer.poll(0.5)
        error = None if message is None else message.error()
        if message is not None and error is None:
            yield message
            give_up = time.monotonic() + _SILENCE
        elif error is not None and error.code() == KafkaError._PARTITION_EOF:
            return
        elif error is not None and error.code() not in _PASSING:
            raise BrokerSilent(f"the dead-letter topic cannot be read: {error.str()}")
        elif time.monotonic() > give_up:
            raise BrokerSilent(f"the broker has sent nothing for {_SILENCE:g} s: see whether it runs, and try again")


def _stretches(offsets: list[int]) -> Iterator[list[int]]:
    stretch = offsets[:1]
    for offset in offsets[1:]:
        if offset - stretch[-1] > _WORTH_A_JUMP:
            yield stretch
            stretch = []
        stretch.append(offset)
    if stretch:
        yield stretch


def as_letter(message: Message, topic: str) -> Letter:
    """A message as a letter."""
    kind, moment = message.timestamp()
    place = Origin(topic, message.partition() or 0, message.offset() or 0)
    return Letter(place, message.key(), message.value(), _headers(message), moment if kind else None)


def _headers(message: Message) -> Headers:
    try:
        return tuple(message.headers() or ())
    except UnicodeDecodeError:
        # Kafka's protocol wants UTF-8 names, and its brokers do not look: nothing of such headers can be had here.
        logger.warning(
            "the headers of the letter at partition %s offset %s have names that are no UTF-8: they are left out",
            message.partition(), message.offset(),
        )  # fmt: skip
        return ()


@contextmanager
def asking() -> Iterator[None]:
    """Turn a client's error into a sentence."""
    try:
        yield
    except KafkaException as error:
        cause = error.args[0].str() if error.args and isinstance(error.args[0], KafkaError) else str(error)
        raise BrokerSilent(f"the broker did not answer as it should: {cause}; see its log, and try again") from error
