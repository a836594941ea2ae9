"""A fetch by ids on the wire (KIP-516): the request as aiokafka builds one, and the broker's answer, read in one go.

aiokafka reads an answer by its schema, field after field: a tenth of the way of a job that is published alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from struct import Struct
from struct import error as struct_error
from typing import Any, NamedTuple

from aiokafka.protocol.api import RequestStruct
from aiokafka.protocol.types import CompactArray, CompactString, Int8, Int32, Int64, Schema, TaggedFields

from streams.kafka.admin.topic_ids import Uuid

#: Partition, error code, high watermark, last stable offset, first offset of the log, aborted transactions (producer
#: and first offset of each), preferred replica, batches of records: in the order in which aiokafka's fetcher has them.
PartitionAnswer = tuple[int, int, int, int, int, Sequence[tuple[int, int]], int, bytes]

#: The time to wait, an error code, the session; partition, error code and three offsets; an aborted transaction.
_HEAD, _PARTITION, _ABORTED, _REPLICA = Struct(">ihi"), Struct(">ihqqq"), Struct(">qq"), Struct(">i")
_ID = 16


class FetchByIdStruct(RequestStruct):  # type: ignore[misc] # aiokafka is untyped
    """A fetch by ids, as it stands on the wire."""

    FLEXIBLE_VERSION = True
    API_KEY = 1
    API_VERSION = 13
    #: Set for each request: what reads its answer.
    RESPONSE_TYPE: Any = None
    SCHEMA = Schema(
        ("replica_id", Int32),
        ("max_wait_ms", Int32),
        ("min_bytes", Int32),
        ("max_bytes", Int32),
        ("isolation_level", Int8),
        ("session_id", Int32),
        ("session_epoch", Int32),
        (
            "topics",
            CompactArray(
                ("topic_id", Uuid),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("current_leader_epoch", Int32),
                        ("fetch_offset", Int64),
                        ("last_fetched_epoch", Int32),
                        ("log_start_offset", Int64),
                        ("partition_max_bytes", Int32),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        (
            "forgotten_topics",
            CompactArray(("topic_id", Uuid), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)),
        ),
        ("rack_id", CompactString("utf-8")),
        ("tags", TaggedFields),
    )


class FetchAnswer(NamedTuple):
    """What a broker answers to a fetch by ids."""

    #: Of the whole answer.
    error_code: int
    #: The ids of topics, and what is said of their partitions.
    topics: Sequence[tuple[bytes, Sequence[PartitionAnswer]]]


def read_answer(data: BytesIO) -> FetchAnswer:
    """Read the answer to a FetchByIdStruct, from where its body begins. Raises ValueError where it ends too soon."""
    try:
        return _Reader(data.getvalue(), data.tell()).answer()
    except (IndexError, struct_error) as short:
        raise ValueError("the answer to a fetch ends within a number") from short


class _Reader:
    """Reads an answer; `at` is how far it has come."""

    def __init__(self, raw: bytes, at: int) -> None:
        self._raw = raw
        self._at = at

    def answer(self) -> FetchAnswer:
        _, error_code, _ = self._take(_HEAD)
        topics = [self._topic() for _ in range(self._length())]
        self._skip_tags()
        return FetchAnswer(error_code, topics)

    def _topic(self) -> tuple[bytes, list[PartitionAnswer]]:
        log = self._bytes(_ID)
        partitions = [self._partition() for _ in range(self._length())]
        self._skip_tags()
        return log, partitions

    def _partition(self) -> PartitionAnswer:
        partition, code, highwater, stable, start = self._take(_PARTITION)
        aborted = [self._aborted() for _ in range(self._length())]
        (replica,) = self._take(_REPLICA)
        records = self._bytes(self._length())
        self._skip_tags()
        return partition, code, highwater, stable, start, aborted, replica, records

    def _aborted(self) -> tuple[int, int]:
        producer, first = self._take(_ABORTED)
        self._skip_tags()
        return producer, first

    def _take(self, form: Struct) -> tuple[Any, ...]:
        taken = form.unpack_from(self._raw, self._at)
        self._at += form.size
        return taken

    def _bytes(self, length: int) -> bytes:
        at = self._at
        self._at += length
        if self._at > len(self._raw):
            raise ValueError(f"the answer to a fetch ends before byte {self._at}")
        return self._raw[at : self._at]

    def _length(self) -> int:
        """Returns how long what comes is: that of what is not there is 0."""
        return max(0, self._number() - 1)

    def _number(self) -> int:
        raw, number, shift = self._raw, 0, 0
        while True:
            byte = raw[self._at]
            self._at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def _skip_tags(self) -> None:
        for _ in range(self._number()):
            self._number()
            self._bytes(self._number())
