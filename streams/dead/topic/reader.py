"""Reads a dead-letter topic, for DeadLetters. Every call opens a client of its own and closes it; each blocks."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from producers.cluster import Cluster
from schemas.headers import Headers, Origin
from streams.dead.errors import BrokerSilent
from streams.dead.letter import Letter
from streams.kafka.errors import reason
from streams.kafka.log_reader import LogReader, Message, headers_of, open_consumer, reading
from streams.ports.records import TopicPartition

logger = logging.getLogger(__name__)

#: Seconds for a request, and for a broker that was there to go on answering.
REQUEST_TIMEOUT = 10.0
_SILENCE = 30.0

#: What passes by itself, such as while a partition's leader moves.
_PASSING = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._DESTROY_BROKER,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
    }
)

#: Letters taken from the client at once, and how long it may wait for the first. Seconds.
_BATCH = 100
_POLL = 0.5

#: Reading on costs less than jumping, up to so many records.
_WORTH_A_JUMP = 500


def open_dead_consumer(cluster: Cluster, group: str) -> Consumer:
    """A consumer for dead letters, or for the commits of who handles them. It commits nothing by itself."""
    return open_consumer(
        cluster, group, client_id="streams-dead", logger=logger, fetch_bytes=2_000_000, queued_kbytes=16_384
    )


class DeadLog:
    """The log of one dead-letter topic: its bounds, and its letters in their order. Raises BrokerSilent."""

    def __init__(self, cluster: Cluster, group: str, topic: str) -> None:
        self.topic = topic
        self._cluster = cluster
        self._group = group

    def bounds(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        """The first offset that is still there and the one after the last, of each partition."""
        found = {}
        with closing(self._consumer()) as consumer:
            for partition in partitions:
                with asking():
                    ends = consumer.get_watermark_offsets(KafkaPartition(self.topic, partition), REQUEST_TIMEOUT)
                    if min(ends) < 0:
                        raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE, "the broker does not tell"))
                found[partition] = ends
        return found

    def scan(self, partition: int, start: int, end: int) -> Iterator[Letter]:
        """The letters from an offset to before another, in their order."""
        with reading(self._consumer(), {TopicPartition(self.topic, partition): start}) as reader:
            for message in _messages(reader):
                offset = message.offset() or 0
                if offset < end:
                    yield as_letter(message, self.topic)
                if offset + 1 >= end:
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

    def _consumer(self) -> Consumer:
        return open_dead_consumer(self._cluster, self._group)


def _messages(reader: LogReader) -> Iterator[Message]:
    """Messages up to the end of the one partition that is read. Raises BrokerSilent."""
    give_up = time.monotonic() + _SILENCE
    while True:
        for chunk in reader.take(_BATCH, _POLL):
            if chunk.end is not None:
                return
            _refuse_lasting(chunk.error)
            yield from chunk.messages
            if chunk.messages:
                give_up = time.monotonic() + _SILENCE
        if time.monotonic() > give_up:
            raise BrokerSilent(f"the broker has sent nothing for {_SILENCE:g} s: see whether it runs, and try again")


def _refuse_lasting(error: KafkaError | None) -> None:
    if error is not None and error.code() not in _PASSING:
        raise BrokerSilent(f"the dead-letter topic cannot be read: {error.str()}")


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
    """A message of the dead-letter topic as a letter."""
    kind, moment = message.timestamp()
    place = Origin(topic, message.partition() or 0, message.offset() or 0)
    return Letter(place, message.key(), message.value(), _headers(message), moment if kind else None)


def _headers(message: Message) -> Headers:
    headers = headers_of(message)
    if headers is None:
        logger.warning(
            "the headers of the letter at partition %s offset %s have names that are no UTF-8: they are left out",
            message.partition(), message.offset(),
        )  # fmt: skip
        return ()
    return headers


@contextmanager
def asking() -> Iterator[None]:
    """Raise BrokerSilent, with a sentence for people, in place of the client's error."""
    try:
        yield
    except KafkaException as error:
        raise BrokerSilent(
            f"the broker did not answer as it should: {reason(error)}; see its log, and try again"
        ) from error
