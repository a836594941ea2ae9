"""The assigned partitions of a worker: takes fetched batches in, and decides what survives a rebalance.

The transport brings news of the group (revoked, assigned) and asks where to fetch from; agents bring fetched batches;
executors report progress. All of it happens on the worker's event loop, and nothing here blocks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from streams.core.custody import Custody
from streams.core.offset_map import MapInvalid
from streams.core.offsets import Commit, OffsetTracker
from streams.core.partition import Partition
from streams.core.room import Room
from streams.executor import Executor
from streams.holds import Hold
from streams.trials import Trials
from streams.work import Record, WorkPartition, retry_topic

logger = logging.getLogger("streams.intake")


class TopicPartition(NamedTuple):
    """A partition of a topic; equal to the tuples of Faust and aiokafka."""

    topic: str
    partition: int

    @property
    def retry(self) -> TopicPartition:
        """The partition of the retry topic that goes with this one of a queue's topic."""
        return TopicPartition(retry_topic(self.topic), self.partition)


@dataclass(frozen=True, slots=True)
class Committed:
    """What the broker holds for a partition: an offset, None if nothing was committed yet, and the map."""

    offset: int | None
    metadata: str
    #: The first and the next offset of the log.
    start: int
    end: int

    @property
    def anew(self) -> bool:
        """Whether the topic was made anew since."""
        return self.offset is not None and self.offset > self.end


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition as they were fetched, in the order of their offsets."""

    tp: TopicPartition
    epoch: int
    records: Sequence[Record]


class Due(NamedTuple):
    """A commit that is due, of a partition of a queue or of its retry topic.

    It belongs to one assignment: it says nothing of a later one of the same partition.
    """

    tp: TopicPartition
    offsets: OffsetTracker
    commit: Commit
    partition: WorkPartition


class _Left(NamedTuple):
    """What this worker knew of a partition when it lost it: the generation in which it had got it, and its jobs."""

    generation: int
    custodies: Sequence[Custody]


class Intake:
    """What this worker has been assigned, and how far it has come.

    limit_jobs and limit_bytes bound what one queue holds in memory; a queue's partitions share them equally.
    `on_room` is called when a partition that was full may be read again, `on_finish` when there is something
    to commit again.
    """

    def __init__(self, executors: Mapping[str, Executor], trials: Trials, *, limit_jobs: int, limit_bytes: int) -> None:
        self._executors = executors
        self._trials = trials
        for executor in executors.values():
            executor.on_progress = self.progressed
            executor.on_hungry = partial(self._feed, executor)
        self._limit_jobs = limit_jobs
        self._limit_bytes = limit_bytes
        self._rooms = {topic: Room() for topic in executors}
        self._partitions: dict[TopicPartition, WorkPartition] = {}
        self._left: dict[TopicPartition, _Left] = {}
        self._closed: dict[WorkPartition, TopicPartition] = {}
        self._waiting: dict[Executor, list[TopicPartition]] = {executor: [] for executor in executors.values()}
        #: Rises with every revocation; what was fetched in an earlier epoch is dropped.
        self.epoch = 0
        self._generation = -1
        self.on_room: Callable[[TopicPartition], None] = lambda tp: None
        #: Called with a partition that was let go since its log starts over, and where: open it again, there.
        self.on_restart: Callable[[TopicPartition, int], None] = lambda tp, position: None
        #: Whether something has finished since `due` was last asked.
        self.commit_wanted = False
        self.on_finish: Callable[[], None] = lambda: None

    # -- the group --------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Have the next commits say that this worker holds its partitions."""
        for partition in self._partitions.values():
            partition.hold()

    def let_go(self) -> None:
        """Have the next commits say that these partitions are left in order."""
        for partition in self._partitions.values():
            partition.let_go()

    def suspend(self) -> None:
        """Start nothing more and drop what is under way from the broker: the partitions are revoked."""
        self.epoch += 1
        for executor in self._executors.values():
            executor.hold(Hold.REBALANCE)
        self._trials.pause()

    async def quiet(self, timeout: float) -> bool:
        """Wait until no job runs and none is on its way to a retry topic, at most `timeout` seconds; whether that was
        reached."""
        try:
            await asyncio.wait_for(self._all_quiet(), timeout)
        except TimeoutError:
            return False
        return True

    async def _all_quiet(self) -> None:
        for executor in self._executors.values():
            await executor.quiet()

    def keep(self, assigned: Iterable[TopicPartition], generation: int) -> set[TopicPartition]:
        """Fence off what was not assigned again; the partitions that are new to this worker.

        A partition goes on as it was only if nobody else can have owned it in between, which is so exactly when the
        group's generation is the one after that of the last assignment: every other owner would have needed a
        generation of its own.
        """
        assigned = set(assigned)
        kept = assigned if generation == self._generation + 1 else set()
        self._generation = generation
        for tp in [tp for tp in self._partitions if tp not in kept]:
            self._lose(tp)
        for executor in self._executors.values():
            executor.forget_lost()
        self._trials.forget_lost()
        return assigned - self._partitions.keys()

    def _lose(self, tp: TopicPartition) -> None:
        partition = self._partitions.pop(tp)
        partition.lose()
        self._left[tp] = _Left(partition.generation, partition.custodies)
        self._closed.pop(partition, None)
        waiting = self._waiting[self._executors[tp.topic]]
        if tp in waiting:
            waiting.remove(tp)

    def prepare(self, tp: TopicPartition, queue: Committed, retries: Committed) -> WorkPartition:
        """A newly assigned partition where the group left it; its retry log is to be loaded before it is added."""
        partition: WorkPartition = Partition(
            _restore(tp, queue),
            topic=tp.topic,
            number=tp.partition,
            limit_jobs=self._limit_jobs,
            limit_bytes=self._limit_bytes,
            room=self._rooms[tp.topic],
            ordered=self._executors[tp.topic].ordered,
        )
        tracker = _restore(tp.retry, retries)
        last_owner = None if tracker.fence is None else tracker.fence.generation
        partition.open_retries(tracker, retries.end, self._generation)
        left = self._left.get(tp)
        if left is not None and left.generation == last_owner:
            partition.go_on(left.custodies)
        else:
            partition.doubt(queue.end, retries.end, self._limit_jobs)
        partition.hold()
        return partition

    def add(self, partitions: Mapping[TopicPartition, WorkPartition]) -> None:
        """Take over partitions that are loaded and started."""
        self._partitions.update(partitions)
        self._share_limits()
        for tp, partition in partitions.items():
            self._executors[tp.topic].divert(partition)

    def _share_limits(self) -> None:
        for topic in self._executors:
            mine = [partition for tp, partition in self._partitions.items() if tp.topic == topic]
            self._rooms[topic].share(mine)
            for partition in mine:
                partition.limit_jobs = max(1, self._limit_jobs // len(mine))
                partition.limit_bytes = max(1, self._limit_bytes // len(mine))

    def resume(self) -> None:
        """Start jobs again."""
        for executor in self._executors.values():
            executor.release(Hold.REBALANCE)
        self._trials.resume()

    def positions(self) -> dict[TopicPartition, int]:
        """Where to fetch next, for every partition."""
        return {tp: partition.offsets.position for tp, partition in self._partitions.items()}

    def is_closed(self, tp: TopicPartition) -> bool:
        """Whether nothing of a partition should be fetched for now."""
        return self._partitions[tp] in self._closed or tp in self._waiting[self._executors[tp.topic]]

    def _restart(self, tp: TopicPartition, position: int) -> None:
        """Start a partition over: its log was replaced by another one."""
        self._lose(tp)
        self._executors[tp.topic].forget_lost()
        self._trials.forget_lost()
        self._share_limits()
        self.on_restart(tp, position)

    # -- the flow ---------------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> None:
        """Take a fetched batch in, unless it is of an earlier epoch: then its records are fetched again."""
        partition = self._partitions.get(batch.tp)
        if partition is None or batch.epoch != self.epoch:
            return
        if batch.records[0].offset < partition.offsets.position:
            logger.error(
                "%s-%d starts again at offset %d, and had come to %d: the topic was made anew. Reading it from there.",
                *batch.tp, batch.records[0].offset, partition.offsets.position,
            )  # fmt: skip
            self._restart(batch.tp, batch.records[0].offset)
            return
        executor = self._executors[batch.tp.topic]
        executor.submit(partition.admit(batch.records))
        executor.divert(partition)
        executor.stir(partition)
        if partition.full:
            self._closed[partition] = batch.tp
        elif executor.satiated():
            self._waiting[executor].append(batch.tp)
        else:
            self.on_room(batch.tp)

    def _feed(self, executor: Executor) -> None:
        """A queue could run more than it has: read on."""
        waiting, self._waiting[executor] = self._waiting[executor], []
        for tp in waiting:
            self.on_room(tp)

    def progressed(self, partition: WorkPartition) -> None:
        """A job of this partition is finished (or lost)."""
        if not self.commit_wanted:
            self.commit_wanted = True
            self.on_finish()
        if self._closed and partition in self._closed:
            self._reopen(partition)

    def _reopen(self, partition: WorkPartition) -> None:
        """Read a closed partition again, if there is room in it."""
        if partition.roomy:
            self.on_room(self._closed.pop(partition))

    def tick(self, now_ms: int) -> None:
        """Start what has become due by now; to be called many times a second."""
        # Another partition may have made room.
        for closed in [*self._closed]:
            self._reopen(closed)
        for tp, partition in self._partitions.items():
            due = partition.next_due
            if due is not None and due <= now_ms:
                self._executors[tp.topic].stir(partition)

    def refresh(self) -> None:
        """Commit everything again.

        A broker forgets what was committed long ago (`offsets.retention.minutes`) of topics that no member of the group
        subscribes to, as of retry topics.
        """
        for partition in self._partitions.values():
            partition.refresh()
        self.on_finish()

    # -- commits ----------------------------------------------------------------------------------------------------

    def due(self) -> list[Due]:
        """What there is to commit.

        A job that has moved to the retry topic is pending there and finished here, so both go into one request.
        """
        self.commit_wanted = False
        return [
            Due(place, offsets, offsets.commit(), partition)
            for tp, partition in self._partitions.items()
            for place, offsets in ((tp, partition.offsets), (tp.retry, partition.retries))
            if offsets is not None and offsets.dirty
        ]

    def committed(self, commits: Iterable[Due]) -> None:
        """The broker holds these commits."""
        for _tp, offsets, commit, partition in commits:
            offsets.acknowledge(commit)
            if partition in self._closed:
                self._reopen(partition)
        self._trials.committed()

    @property
    def assigned(self) -> int:
        """How many partitions this worker has."""
        return len(self._partitions)

    @property
    def active(self) -> int:
        """Jobs that run."""
        return sum(executor.active for executor in self._executors.values())

    @property
    def pending(self) -> int:
        """Jobs that are read and not finished, apart from those that wait in a retry topic."""
        return sum(partition.offsets.pending for partition in self._partitions.values())

    @property
    def parked(self) -> int:
        """Jobs that wait in a retry topic, for their time or behind one that does."""
        return sum(partition.parked for partition in self._partitions.values())


def _restore(tp: TopicPartition, place: Committed) -> OffsetTracker:
    if place.offset is None:
        return OffsetTracker(place.start)
    if place.anew:
        logger.error(
            "%s-%d: committed up to offset %d, but the log ends at %d: the topic was made anew. Reading it from %d.",
            *tp, place.offset, place.end, place.start,
        )  # fmt: skip
        return OffsetTracker(place.start)
    offsets = _restore_map(tp, place.offset, place.metadata)
    if offsets.watermark < place.start:
        logger.error(
            "%s-%d: retention removed jobs before they ran: offset %d was unfinished, and the log starts at %d.",
            *tp, offsets.watermark, place.start,
        )  # fmt: skip
    offsets.skip_to(place.start)
    return offsets


def _restore_map(tp: TopicPartition, offset: int, metadata: str) -> OffsetTracker:
    try:
        return OffsetTracker(offset, metadata)
    except MapInvalid as error:
        logger.error(
            "%s-%d: the commit's finished-offset map cannot be read (%s); finished jobs beyond offset %d run again.",
            *tp, error, offset,
        )  # fmt: skip
        return OffsetTracker(offset)
