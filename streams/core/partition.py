"""One assigned partition of a queue: its offsets, its lanes, and whether it can take in more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from streams.core.lanes import Lane, Lanes
from streams.core.offsets import OffsetTracker


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


#: What a header is taken to hold, unless its content is large. Bytes.
HEADER_SIZE = 64

#: The content of a header that is large: counted by its length. Bytes.
LARGE_HEADER = 1024

#: One record in so many is looked at for large headers until some are found.
_SAMPLE = 16

R = TypeVar("R", bound=Record)


class Partition(Generic[R]):
    """The work of one partition from its assignment until it is lost.

    `limit_jobs` and `limit_bytes` bound what is held in memory, running or waiting; a partition over either is `full`
    and reads no further until it is `roomy` again. Bytes are those of values, keys and headers. To look into
    every header would cost half as much as all else that is done here, so headers count by their number, and the large
    ones by their length once a sample of what was read has shown some.
    """

    __slots__ = (
        "_bytes", "_lanes", "_large", "_seen_large", "limit_bytes", "limit_jobs", "lost", "number", "offsets", "topic",
    )  # fmt: skip

    def __init__(
        self, offsets: OffsetTracker, *, topic: str = "", number: int = 0, limit_jobs: int, limit_bytes: int
    ) -> None:
        self.topic = topic
        self.number = number
        self.offsets = offsets
        self.limit_jobs = limit_jobs
        self.limit_bytes = limit_bytes
        self.lost = False
        self._bytes = 0
        #: Whether records with large headers have been seen, and what the contents of those held take, by offset.
        self._seen_large = False
        self._large: dict[int, int] = {}
        self._lanes: Lanes[R, Partition[R]] = Lanes(self)

    @property
    def full(self) -> bool:
        """Whether no more should be read for now."""
        offsets = self.offsets
        return offsets.load >= self.limit_jobs or self._bytes >= self.limit_bytes or offsets.spent

    @property
    def roomy(self) -> bool:
        """Whether a full partition has drained far enough to read again."""
        offsets = self.offsets
        return (
            offsets.load <= self.limit_jobs * 3 // 4
            and self._bytes <= self.limit_bytes * 3 // 4
            and (not offsets.spent or offsets.load == 0)
        )

    def admit(self, records: Sequence[R]) -> list[Lane[R, Partition[R]]]:
        """Queue records (at least one) in the order of their offsets, skipping finished ones; lanes this made ready."""
        ready = []
        lanes = self._lanes
        fresh = records if self.offsets.read_all([record.offset for record in records]) else self._unfinished(records)
        size = 0
        for record in fresh:
            key = record.key
            size += len(record.value or b"") + len(key or b"") + HEADER_SIZE * len(record.headers)
            lane = lanes.add(key, record)
            if lane is not None:
                ready.append(lane)
        self._bytes += size + self._large_headers(fresh)
        return ready

    def _large_headers(self, records: Sequence[R]) -> int:
        """What the large headers of these records take; they are looked for once a sample has shown some."""
        if not self._seen_large:
            self._seen_large = any(_large(record.headers) for record in records[::_SAMPLE])
            if not self._seen_large:
                return 0
        found = {record.offset: size for record in records if (size := _large(record.headers))}
        self._large.update(found)
        return sum(found.values())

    def _unfinished(self, records: Sequence[R]) -> list[R]:
        read = self.offsets.read
        return [record for record in records if read(record.offset)]

    def finish(self, lane: Lane[R, Partition[R]]) -> bool:
        """Finish the head of a lane, whose outcome is durable; True if the lane is ready again.

        Does nothing on a lost partition: its offsets belong to another worker.
        """
        if self.lost:
            return False
        record = lane.head
        self.offsets.finish(record.offset)
        self._bytes -= len(record.value or b"") + len(record.key or b"") + HEADER_SIZE * len(record.headers)
        if self._large:
            self._bytes -= self._large.pop(record.offset, 0)
        return self._lanes.finish(lane)

    def lose(self) -> None:
        """Fence the partition off: nothing of it starts or finishes any more."""
        self.lost = True


def _large(headers: Sequence[tuple[str, bytes | None]]) -> int:
    """The bytes of the contents that are large."""
    size = 0
    for _, content in headers:
        if content is not None and len(content) >= LARGE_HEADER:
            size += len(content)
    return size
