"""Finds producers that place keys by another rule than all others: jobs of such a key run beside those of its twin."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from time import monotonic

from producers.routing.key_placement import is_misplaced, partition_of
from streams.ports.records import Batch

logger = logging.getLogger(__name__)

#: Keys of a queue that may be looked at: so many of one batch, so many a second, and so many at once where few were
#: looked at before, so that a few jobs of a rare producer are noticed. A look takes a few microseconds.
_OF_A_BATCH = 16
_A_SECOND = 64
_AT_ONCE = 512

_SETTINGS = (
    "confluent-kafka, rdkafka, kcat and whatever else is made of librdkafka: partitioner=murmur2_random;"
    " segmentio/kafka-go: Balancer: kafka.Murmur2Balancer{}; Sarama: a custom partitioner with murmur2;"
    " kafkajs: Partitioners.DefaultPartitioner; franz-go: kgo.StickyKeyPartitioner(nil). See docs/producers.md"
)


class MisplacedKeys:
    """Looks at some keys of each queue, and warns of the first that lies where murmur2 cannot have placed it.

    Belongs to an event loop. It warns once a queue, and never of a key that was published while the topic had fewer
    partitions: see `is_misplaced`. Jobs without a key, and with an empty one, are not looked at: clients differ in what
    they take for a key.
    """

    def __init__(self, partitions: Mapping[str, int], ask: Callable[[str], Awaitable[int | None]]) -> None:
        """What is known of the topics of queues, and who knows better.

        partitions  how many partitions each should have; somebody may have added some
        ask         how many a topic has now; None where nobody can tell
        """
        self._partitions = dict(partitions)
        self._ask = ask
        self._looks = {topic: _Looks() for topic in partitions}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def look(self, batch: Batch) -> None:
        """Look at keys of a fetched batch, if it is time to; never blocks."""
        topic, partition = batch.tp
        looks = self._looks.get(topic)
        if looks is None:
            return
        looks.refill()
        partitions = self._partitions[topic]
        for key in _keys(batch):
            if not looks.take():
                return
            if is_misplaced(key, partition, partitions):
                self._suspect(topic, partition, key)
                return

    def _suspect(self, topic: str, partition: int, key: bytes) -> None:
        """Ask how many partitions there are before anything is said: more than we know, and the key may be right."""
        if topic not in self._asking:
            self._asking[topic] = asyncio.ensure_future(self._make_sure(topic, partition, key))

    async def _make_sure(self, topic: str, partition: int, key: bytes) -> None:
        try:
            partitions = await self._ask(topic)
        finally:
            del self._asking[topic]
        if partitions is None:
            return  # The next such key has it asked again.
        self._partitions[topic] = partitions
        if is_misplaced(key, partition, partitions):
            del self._looks[topic]
            logger.warning(_told(topic, partition, partitions, key))

    def close(self) -> None:
        """Ask nothing more."""
        for task in self._asking.values():
            task.cancel()


class _Looks:
    """How many keys of a queue may still be looked at for now."""

    __slots__ = ("_left", "_since")

    def __init__(self) -> None:
        self._left = _AT_ONCE
        self._since = monotonic()

    def take(self) -> bool:
        """Take one look. Returns False if none is left."""
        if not self._left:
            return False
        self._left -= 1
        return True

    def refill(self) -> None:
        """Allow some more where none are left, by the time since they were last allowed."""
        if not self._left:
            now = monotonic()
            self._left = min(_AT_ONCE, int((now - self._since) * _A_SECOND))
            if self._left:
                self._since = now


def _keys(batch: Batch) -> Iterator[bytes]:
    """Its keys, one after the other; the same one twice in a row is one."""
    last = None
    for record in batch.records[:_OF_A_BATCH]:
        if record.key and record.key != last:
            last = record.key
            yield last


def _told(topic: str, partition: int, partitions: int, key: bytes) -> str:
    by_default = " (there librdkafka places it by default)" if zlib.crc32(key) % partitions == partition else ""
    shown = ascii(key[:64].decode("utf-8", "replace"))
    return (
        f"{topic}: a producer does not place keys as the others do: the key {shown} lies in partition {partition}"
        f"{by_default}, and belongs in {partition_of(key, partitions)} of {partitions} (murmur2, as Java's client has"
        " it). Jobs of one key that are placed differently run beside each other, out of order. In that producer set,"
        f" for {_SETTINGS}"
    )
