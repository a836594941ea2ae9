"""What the parts of a worker hand each other: records, the partitions they are of, and the lanes they wait in."""

from __future__ import annotations

from typing import Protocol

from schemas.headers import Headers, Origin
from streams.core.lanes import Lane
from streams.core.partition import Partition


class Record(Protocol):
    """A record as a consumer delivers it; which partition it is of is the lane's to know."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def timestamp(self) -> int:
        """Epoch milliseconds of the job's publication, in the retry topic too; below 1 if it is not known."""


WorkPartition = Partition[Record]
WorkLane = Lane[Record, WorkPartition]


def retry_topic(topic: str) -> str:
    """The retry topic of a queue's topic."""
    return f"{topic}.retry"


def place(partition: WorkPartition, record: Record, position: int) -> Origin:
    """Where a job lies, as far as its headers do not say where it came from: in its queue, or at least in the retry
    topic that it was read from."""
    if position < 0:
        return Origin(retry_topic(partition.topic), partition.number, record.offset)
    return Origin(partition.topic, partition.number, position)


def place_of(lane: WorkLane) -> Origin:
    """Where the head of a lane lies: see `place`."""
    entry = lane.entry
    return place(lane.owner, lane.head, lane.head.offset if entry is None else entry.position)
