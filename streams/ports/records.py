"""What the worker and its Kafka side hand each other: records, partitions with their lanes, batches and commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from producers.routing.topics import retry_topic
from schemas.headers import Headers, Origin
from streams.core.offsets.commit_metadata import log_of
from streams.core.offsets.finished_map import MapInvalid
from streams.core.offsets.log_id import UNKNOWN, differ
from streams.core.offsets.tracker import Commit, OffsetTracker
from streams.core.partition.lanes import Lane
from streams.core.partition.partition import QueuePartition


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


WorkPartition = QueuePartition[Record]
WorkLane = Lane[Record, WorkPartition]


def origin(partition: WorkPartition, record: Record, queue_offset: int) -> Origin:
    """Where a job lies, as far as its headers do not say where it came from: in its queue, or at least in the retry
    topic that it was read from."""
    if queue_offset < 0:
        return Origin(retry_topic(partition.topic), partition.number, record.offset)
    return Origin(partition.topic, partition.number, queue_offset)


def origin_of(lane: WorkLane) -> Origin:
    """Where the head of a lane lies: see `origin`."""
    entry = lane.entry
    return origin(lane.owner, lane.head, lane.head.offset if entry is None else entry.queue_offset)


class OutgoingRecord(NamedTuple):
    """A record that the worker writes: of a retry, a dead letter or a follow-up job.

    partition  Kafka's choice by key where it is None
    timestamp  epoch milliseconds; 0: now
    anywhere   whether any partition is better than none, where the topic lacks this one and cannot be given it
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, Any]]
    partition: int | None = None
    timestamp: int = 0
    anywhere: bool = False


class TopicPartition(NamedTuple):
    """A partition of a topic; equal to the tuples of Faust and aiokafka."""

    topic: str
    partition: int

    @property
    def retry(self) -> TopicPartition:
        """The partition of the retry topic that goes with this one of a queue's topic."""
        return TopicPartition(retry_topic(self.topic), self.partition)


@dataclass(frozen=True, slots=True)
class PartitionStart:
    """Where a newly assigned partition begins: what the group has committed, and the bounds of its log."""

    offset: int | None
    metadata: str
    #: The first and the next offset of the log.
    start: int
    end: int
    #: The id of the log; UNKNOWN where the broker gives none.
    log: str = UNKNOWN

    @property
    def moved(self) -> bool:
        """Whether it tells nothing of who has committed it, as each commit of a worker does."""
        return self.offset is not None and not self.metadata and not self.anew

    @property
    def anew(self) -> bool:
        """Whether the topic was made anew since."""
        return self.offset is not None and (self.offset > self.end or differ(log_of(self.metadata), self.log))

    @property
    def reached(self) -> int:
        """How far this very log had come by then; 0 where it is not known that it is the same one."""
        if self.offset is None or self.log == UNKNOWN or log_of(self.metadata) != self.log:
            return 0
        with suppress(MapInvalid):
            return OffsetTracker(self.offset, self.metadata).end
        return self.offset


class Span(NamedTuple):
    """Offsets of a log, from and to, that hold no job: markers of transactions, and records of aborted ones."""

    start: int
    to: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition as they were fetched, in the order of their offsets."""

    tp: TopicPartition
    epoch: int
    records: Sequence[Record]
    #: What follows them and holds no job.
    passed: Span | None = None


class DueCommit(NamedTuple):
    """A commit that is due, of a partition of a queue or of its retry topic, on its way to the consumer's thread.

    It belongs to one assignment: it says nothing of a later one of the same partition.
    """

    tp: TopicPartition
    offsets: OffsetTracker
    commit: Commit
    partition: WorkPartition


#: Logs of a partition that are not to be read on: those of its queue, of its retry topic, or both, each with where the
#: new one is to be read from; None for its start.
Anew = Mapping[TopicPartition, int | None]
