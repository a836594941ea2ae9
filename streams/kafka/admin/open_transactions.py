"""Transactions that are open and hold a partition up: who has begun them, since when, and how to end them.

Workers read what is committed. Behind the first record of an open transaction nothing is, so one producer that has
begun a transaction and does not end it holds up all jobs of the partition, of all producers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from streams.ports.records import TopicPartition

logger = logging.getLogger(__name__)

#: A transaction that is open for less is nothing to tell of. Seconds.
_LONG = 10.0

_NAME = CompactString("utf-8")


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction that is open in a partition."""

    start: int
    producer: int
    #: Epoch milliseconds when its producer last wrote to the partition.
    last_write_ms: int
    #: The producer's transactional.id; empty if no broker tells it.
    name: str

    def __str__(self) -> str:
        who = f"transactional.id {self.name!r}, " if self.name else ""
        idle = max(0.0, time.time() - self.last_write_ms / 1000)
        return f"{who}producer id {self.producer}, which last wrote {idle:.0f} s ago"


@dataclass
class HeldBackPartitions:
    """For how long partitions have been held up by open transactions, and which of it was logged; for LogWatch."""

    _since: dict[TopicPartition, tuple[int, float]] = field(default_factory=dict)
    _logged: set[tuple[TopicPartition, int]] = field(default_factory=set)

    def note(self, held: Mapping[TopicPartition, int], now: float) -> list[tuple[TopicPartition, int]]:
        """Note which partitions are held up now, and at which offset. Returns those that are for long, each once."""
        since = self._since
        self._since = {tp: since[tp] if since.get(tp, (None,))[0] == at else (at, now) for tp, at in held.items()}
        self._logged = {(tp, at) for tp, at in self._logged if held.get(tp) == at}
        found = [(tp, at) for tp, (at, begun) in self._since.items() if now - begun >= _LONG]
        new = [each for each in found if each not in self._logged]
        self._logged.update(new)
        return new


def log_open_transaction(tp: TopicPartition, offset: int, found: Sequence[OpenTransaction]) -> None:
    """Log whose transaction holds a partition up, and how to end it."""
    who = next((str(each) for each in found if each.start == offset), "a producer that no broker tells")
    logger.warning(
        "%s-%d: no job from offset %d on is run, since a transaction that begins there is open, of %s. They run when it"
        " is committed or aborted; the broker aborts it when the producer's transaction.timeout.ms is over. To end it"
        " sooner: kafka-transactions.sh abort --topic %s --partition %d --start-offset %d",
        *tp, offset, who, *tp, offset,
    )  # fmt: skip


class DescribeProducersResponse(Response):  # type: ignore[misc] # aiokafka is untyped
    """A broker's answer: the producers that are at work in partitions."""

    API_KEY = 61
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", _NAME),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("error_message", _NAME),
                        (
                            "producers",
                            CompactArray(
                                ("producer_id", Int64),
                                ("producer_epoch", Int32),
                                ("last_sequence", Int32),
                                ("last_timestamp", Int64),
                                ("coordinator_epoch", Int32),
                                ("transaction_start", Int64),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )
    topics: Any


class DescribeProducersStruct(RequestStruct):  # type: ignore[misc] # aiokafka is untyped
    """A request for the producers that are at work in partitions (KIP-664), as it stands on the wire."""

    FLEXIBLE_VERSION = True
    API_KEY = 61
    API_VERSION = 0
    RESPONSE_TYPE = DescribeProducersResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic", _NAME), ("partitions", CompactArray(Int32)), ("tags", TaggedFields))),
        ("tags", TaggedFields),
    )


class DescribeProducersRequest(Request[DescribeProducersStruct]):  # type: ignore[misc] # aiokafka is untyped
    """Asks who is at work in a partition."""

    API_KEY = 61

    def __init__(self, tp: Any) -> None:
        self._tp = tp

    def build(self, request_struct_class: type[DescribeProducersStruct]) -> DescribeProducersStruct:
        """The request in a version that a broker understands."""
        return request_struct_class([(self._tp.topic, [self._tp.partition], {})], {})


class ListTransactionsResponse(Response):  # type: ignore[misc] # aiokafka is untyped
    """A broker's answer: the transactions that it coordinates."""

    API_KEY = 66
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("unknown_states", CompactArray(_NAME)),
        (
            "transactions",
            CompactArray(("name", _NAME), ("producer_id", Int64), ("state", _NAME), ("tags", TaggedFields)),
        ),
        ("tags", TaggedFields),
    )
    transactions: Any


class ListTransactionsStruct(RequestStruct):  # type: ignore[misc] # aiokafka is untyped
    """A request for the transactions of some producers (KIP-664), as it stands on the wire."""

    FLEXIBLE_VERSION = True
    API_KEY = 66
    API_VERSION = 0
    RESPONSE_TYPE = ListTransactionsResponse
    SCHEMA = Schema(
        ("states", CompactArray(_NAME)),
        ("producer_ids", CompactArray(Int64)),
        ("tags", TaggedFields),
    )


class ListTransactionsRequest(Request[ListTransactionsStruct]):  # type: ignore[misc] # aiokafka is untyped
    """Asks for the transactional ids of producers."""

    API_KEY = 66

    def __init__(self, producers: Collection[int]) -> None:
        self._producers = producers

    def build(self, request_struct_class: type[ListTransactionsStruct]) -> ListTransactionsStruct:
        """The request in a version that a broker understands."""
        return request_struct_class([], [*self._producers], {})


async def fetch_open_transactions(client: Any, tp: Any) -> list[OpenTransaction]:
    """Ask, by a client of aiokafka, which transactions are open in a partition.

    Returns none where brokers tell of none (before 3.0, or this user may not know). Raises KafkaError when no broker
    answers.
    """
    try:
        answer = await client.send(client.cluster.leader_for_partition(tp), DescribeProducersRequest(tp))
        found = dict(_open(answer))
        names = await _names(client, found) if found else {}
    except (NotImplementedError, LookupError):
        return []
    return [OpenTransaction(start, at, last, names.get(at, "")) for at, (start, last) in found.items()]


def _open(answer: DescribeProducersResponse) -> Iterator[tuple[int, tuple[int, int]]]:
    for _, partitions, _ in answer.topics:
        for _, _, _, producers, _ in partitions:
            for producer, _, _, last, _, start, _ in producers or ():
                if start >= 0:
                    yield producer, (start, last)


async def _names(client: Any, producers: Collection[int]) -> dict[int, str]:
    """Ask for the transactional ids of producers, each of which is known to one of the brokers."""
    names: dict[int, str] = {}
    for broker in client.cluster.brokers():
        answer = await client.send(broker.nodeId, ListTransactionsRequest(producers))
        names.update({producer: name for name, producer, *_ in answer.transactions or ()})
    return names
