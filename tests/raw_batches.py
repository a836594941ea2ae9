"""Batches of records as no client of ours would write them: with header names that are no UTF-8, or any bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy


class RawName(str):
    """A header's name whose bytes are what it was made of, and not those of its text."""

    raw: bytes

    def __new__(cls, raw: bytes) -> RawName:
        name = super().__new__(cls, raw.decode("utf-8", "backslashreplace"))
        name.raw = raw
        return name

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The bytes."""
        return self.raw


Headers = Iterable[tuple[bytes, bytes | None]]


def batch(records: Iterable[tuple[bytes | None, bytes, Headers]], *, compression: int = 0) -> Any:
    """The builder of a batch of records: key, value, headers."""
    builder = _DefaultRecordBatchBuilderPy(
        magic=2, compression_type=compression, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0,
        batch_size=1_000_000,
    )  # fmt: skip
    for offset, (key, value, headers) in enumerate(records):
        named: list[Any] = [(RawName(name), content) for name, content in headers]
        assert builder.append(offset, None, key, value, named) is not None, "the batch is full"
    return builder


async def publish(
    bootstrap: str, topic: str, partition: int, records: Iterable[tuple[bytes | None, bytes, Headers]]
) -> int:
    """Write records as one batch; returns the offset of the first."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        sent = producer.create_batch()
        given = list(records)
        sent._builder, sent._relative_offset = batch(given), len(given)
        return int((await (await producer.send_batch(sent, topic, partition=partition))).offset)


class _Written:
    """What a producer takes for the builder of a batch, whose bytes are given."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def build(self) -> bytes:
        """The bytes."""
        return self._raw

    def size(self) -> int:
        """How many there are."""
        return len(self._raw)


async def publish_batches(bootstrap: str, topic: str, partition: int, batches: Iterable[tuple[bytes, int]]) -> int:
    """Write batches as they are, each with the number of its records; returns the offset of the first record."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=20_000_000) as producer:
        first = None
        for raw, count in batches:
            sent = producer.create_batch()
            sent._builder, sent._relative_offset = _Written(raw), count
            offset = int((await (await producer.send_batch(sent, topic, partition=partition))).offset)
            first = offset if first is None else first
    assert first is not None
    return first
