"""What records take in memory, in bytes, and how much the partitions of a queue may park together, in one worker.

A parked record is looked into once, and counts exactly. To look into every header of the queue would cost half as much
as all else that is done to admit it, so there headers count by their number, and the large ones by their length once
a sample of what was read has shown some.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

#: As good as no bound.
_NO_LIMIT = 2**63


class HasParkedJobs(Protocol):
    """What a budget asks of a partition: how much it has parked."""

    @property
    def parked(self) -> int: ...
    @property
    def parked_bytes(self) -> int: ...


class ParkedBudget:
    """How many jobs, and bytes of them, the partitions of one queue may park together in this worker.

    A partition may use what the others leave, and always its equal share. So one hot key may park nearly as much as all
    together, and nobody is crowded out by it; together they hold less than twice the limit.
    """

    __slots__ = ("limit_bytes", "limit_jobs", "partitions")

    def __init__(self, limit_jobs: int = _NO_LIMIT, limit_bytes: int = _NO_LIMIT) -> None:
        self.limit_jobs = limit_jobs
        self.limit_bytes = limit_bytes
        self.partitions: list[HasParkedJobs] = []

    def divide_among(self, partitions: Iterable[HasParkedJobs]) -> None:
        """Divide it among these partitions, and no others any more."""
        self.partitions = list(partitions)

    def crowded(self, partition: HasParkedJobs) -> bool:
        """Whether a partition has parked as much as it may."""
        jobs = sum(each.parked for each in self.partitions)
        size = sum(each.parked_bytes for each in self.partitions)
        return self._over(partition.parked, jobs, self.limit_jobs) or self._over(
            partition.parked_bytes, size, self.limit_bytes
        )

    def _over(self, own: int, together: int, limit: int) -> bool:
        return together >= limit and own * len(self.partitions) >= limit


#: What a header is taken to hold, unless its content is large. Bytes.
HEADER_SIZE = 64


#: The content of a header that is large: counted by its length. Bytes.
LARGE_HEADER = 1024


#: One record in so many is looked at for large headers until some are found.
_SAMPLE = 16


class Record(Protocol):
    """What the core needs to know of a record."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


def small_size(record: Record) -> int:
    """The bytes that a record takes, as if none of its headers were large."""
    return _small(record, record.headers)


def size_of(record: Record) -> int:
    """The bytes that a record takes, its large headers included."""
    headers = record.headers  # Asked for once: a packed record unpacks them.
    return _small(record, headers) + _large_of(headers)


def _small(record: Record, headers: Sequence[tuple[str, bytes | None]]) -> int:
    return len(record.value or b"") + len(record.key or b"") + HEADER_SIZE * len(headers)


class LargeHeaders:
    """What the large headers of a queue's records take, as far as they are known; part of a QueuePartition."""

    __slots__ = ("_seen", "sizes")

    def __init__(self) -> None:
        self._seen = False
        #: Bytes, by the offset of the record.
        self.sizes: dict[int, int] = {}

    def add(self, records: Sequence[Record]) -> int:
        """Look for large headers in these records, once a sample has shown some. Returns the bytes that they take."""
        if not self._seen:
            self._seen = any(map(_large, records[::_SAMPLE]))
            if not self._seen:
                return 0
        found = {record.offset: size for record in records if (size := _large(record))}
        self.sizes.update(found)
        return sum(found.values())


def _large(record: Record) -> int:
    return _large_of(record.headers)


def _large_of(headers: Sequence[tuple[str, bytes | None]]) -> int:
    """The bytes of the contents that are large."""
    size = 0
    for _, content in headers:
        if content is not None and len(content) >= LARGE_HEADER:
            size += len(content)
    return size
