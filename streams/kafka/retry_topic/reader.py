"""Reads the retry logs of newly assigned partitions, from what is unfinished there to their ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from producers.cluster import Cluster
from schemas.headers import Headers
from streams.aio.blocking_calls import KAFKA
from streams.errors import SetupError
from streams.kafka.admin.client import Admin
from streams.kafka.errors import RETRY_AFTER, reason
from streams.kafka.log_reader import LogReader, Message, headers_of, open_consumer
from streams.ports.group import LogBounds, NotSettledYet, RebalancedMeanwhile
from streams.ports.records import TopicPartition

logger = logging.getLogger(__name__)

#: Records taken from the client at once, and how long it may wait for the first. Seconds.
_BATCH = 1000
_POLL = 0.25

_REQUEST_TIMEOUT = 10.0


def _go_on_unless(overtaken: Callable[[], bool]) -> None:
    if overtaken():
        raise RebalancedMeanwhile


class Stored(NamedTuple):
    """A record of a retry log, copied from the client's message."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int


class Piece(NamedTuple):
    """Some records of one partition in their order, or where it goes on, once its end was reached: `read_to`."""

    tp: TopicPartition
    records: list[Stored]
    read_to: int | None


class RetryTopicReader:
    """Reads the retry topics of a cluster, for a PartitionOpener. It joins no group and commits nothing.

    `repair` is called, in a thread, when a topic or a partition of it is missing: it shall create it, or raise.
    """

    def __init__(self, cluster: Cluster, repair: Callable[[], None]) -> None:
        self._cluster = cluster
        self._repair = repair

    async def bounds(
        self, partitions: Iterable[TopicPartition], overtaken: Callable[[], bool]
    ) -> dict[TopicPartition, LogBounds]:
        """Ask where these logs start and end; waits for a broker that is away. Raises RebalancedMeanwhile."""
        wanted = list(partitions)
        while wanted:
            _go_on_unless(overtaken)
            try:
                return await KAFKA.run(self._bounds, wanted)
            except KafkaException as error:
                logger.warning("cannot read the bounds of the retry topics: %s; trying again", reason(error))
                await self._mend(wanted)
            await asyncio.sleep(RETRY_AFTER)
        return {}

    async def _mend(self, wanted: Iterable[TopicPartition]) -> None:
        try:
            if await KAFKA.run(self._lacks, wanted):
                await KAFKA.run(self._repair)
        except KafkaException as error:
            logger.warning("cannot ask for the retry topics: %s", reason(error))
        except SetupError as error:
            logger.error("%s", error)

    def _lacks(self, wanted: Iterable[TopicPartition]) -> bool:
        """Whether a topic or a partition is missing; the client's own error does not say it."""
        topics = Admin(self._cluster).describe_topics({tp.topic for tp in wanted}, _REQUEST_TIMEOUT)
        there = {(name, partition) for name, topic in topics.items() for partition in topic.partitions}
        return not there.issuperset(wanted)

    def _bounds(self, wanted: list[TopicPartition]) -> dict[TopicPartition, LogBounds]:
        admin = Admin(self._cluster).client
        ask = partial(admin.list_offsets, request_timeout=_REQUEST_TIMEOUT)
        starts = ask({KafkaPartition(*tp): OffsetSpec.earliest() for tp in wanted})  # type: ignore[no-untyped-call]
        ends = ask({KafkaPartition(*tp): OffsetSpec.latest() for tp in wanted})  # type: ignore[no-untyped-call]
        first, last = _offsets_of(starts), _offsets_of(ends)
        return {tp: LogBounds(first[tp], last[tp]) for tp in wanted}

    async def read(self, starts: Mapping[TopicPartition, int], overtaken: Callable[[], bool]) -> AsyncIterator[Piece]:
        """Read all records from these offsets on; each partition's last piece is the one that says where its end was.

        Waits for a broker that is away. Raises RebalancedMeanwhile, and NotSettledYet where the client has failed.
        """
        consumer = self._consumer()
        try:
            reader = LogReader(consumer, starts)
            while reader.unread:
                pieces = await KAFKA.run(_take, reader)
                _go_on_unless(overtaken)
                for piece in pieces:
                    yield piece
        except KafkaException as error:
            raise NotSettledYet(f"the retry topics cannot be read: {reason(error)}") from error
        finally:
            await KAFKA.run(consumer.close)

    def _consumer(self) -> Consumer:
        return open_consumer(
            self._cluster,
            "streams-retries",
            client_id="streams-retries",
            logger=logger,
            fetch_bytes=8_000_000,
            queued_kbytes=32_768,
            # A record that nobody finished must be seen, aborted or not: nobody writes in transactions here.
            isolation="read_uncommitted",
            on_error=_log_client_error,
        )


def _offsets_of(answers: Mapping[KafkaPartition, Any]) -> dict[TopicPartition, int]:
    """The offsets of an answer; raises KafkaException.

    librdkafka 2.16 answers with a negative one, and no error, when it has lost the broker meanwhile. Taken for the end
    of a log, that would be the end of one that was made anew, which is read from its start.
    """
    found = {TopicPartition(tp.topic, tp.partition): future.result().offset for tp, future in answers.items()}
    for (topic, partition), offset in found.items():
        if offset < 0:
            raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE, f"{topic}-{partition}: no answer"))
    return found


def _take(reader: LogReader) -> list[Piece]:
    pieces: list[Piece] = []
    for chunk in reader.take(_BATCH, _POLL):
        if chunk.error is not None:
            logger.warning("%s-%d cannot be read: %s; trying again", *chunk.tp, chunk.error.str())
        else:
            pieces.append(Piece(chunk.tp, [_stored(message) for message in chunk.messages], chunk.end))
    return pieces


def _stored(message: Any) -> Stored:
    return Stored(message.offset(), message.key(), message.value(), _headers(message), message.timestamp()[1])


def _headers(message: Message) -> Headers:
    headers = headers_of(message)
    if headers is None:
        logger.warning("%s-%d: the headers of offset %d have names that are no UTF-8: they are left out",
                       message.topic(), message.partition(), message.offset())  # fmt: skip
        return ()
    return headers


def _log_client_error(error: KafkaError) -> None:
    logger.warning("Kafka client: %s", error)
