"""The assigned partitions of a worker: takes fetched batches in, and decides what survives a rebalance.

The transport brings news of the group (revoked, assigned) and asks where to fetch from; agents bring fetched batches;
executors report progress. All of it happens on the worker's event loop, and nothing here blocks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from streams.core import log_id
from streams.core.custody import Custody
from streams.core.log_id import UNKNOWN, differ
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
    #: The id of the log; UNKNOWN where the broker gives none.
    log: str = UNKNOWN

    @property
    def moved(self) -> bool:
        """Whether it tells nothing of who has committed it, as each commit of a worker does."""
        return self.offset is not None and not self.metadata and not self.anew

    @property
    def anew(self) -> bool:
        """Whether the topic was made anew since."""
        return self.offset is not None and (self.offset > self.end or differ(log_id.read(self.metadata).log, self.log))

    @property
    def reached(self) -> int:
        """How far this very log had come by then; 0 where it is not known that it is the same one."""
        rest, log, _ = log_id.read(self.metadata)
        if self.offset is None or log != self.log or log == UNKNOWN:
            return 0
        with suppress(MapInvalid):
            return OffsetTracker(self.offset, rest).end
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


class Due(NamedTuple):
    """A commit that is due, of a partition of a queue or of its retry topic.

    It belongs to one assignment: it says nothing of a later one of the same partition.
    """

    tp: TopicPartition
    offsets: OffsetTracker
    commit: Commit
    partition: WorkPartition


#: Logs of a partition that are not to be read on: those of its queue, of its retry topic, or both, each with where the
#: new one is to be read from; None for its start.
Anew = Mapping[TopicPartition, int | None]


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
            executor.on_replaced = self._retries_replaced
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
        #: Topics that are not there: nothing is committed for them.
        self._missing: set[str] = set()
        #: Called when such a topic is there again.
        self.on_found: Callable[[], None] = lambda: None
        #: Ids of logs that others have replaced; a broker that has not heard of it yet may still tell them.
        self._gone: set[str] = set()
        #: Called with a partition that was let go since one of its logs is another one: open it again.
        self.on_restart: Callable[[TopicPartition, Anew], None] = lambda tp, anew: None
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
        _tell_of_moves(tp, queue, retries)
        last_owner = None if tracker.fence is None else tracker.fence.generation
        partition.open_retries(tracker, retries.end, self._generation)
        left = self._left.get(tp)
        if left is not None and left.generation == last_owner:
            # What was known of jobs of another log says nothing of those at the same offsets in this one.
            known = Custody() if queue.anew else left.custodies[0]
            partition.go_on([known, *left.custodies[1:]])
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

    def ids(self) -> dict[TopicPartition, str]:
        """The id of the log of every partition; UNKNOWN where it has none."""
        return {tp: partition.offsets.log for tp, partition in self._partitions.items()}

    def is_closed(self, tp: TopicPartition) -> bool:
        """Whether nothing of a partition is to be fetched: it is full, or not open, or its queue has enough."""
        partition = self._partitions.get(tp)
        return partition is None or partition in self._closed or tp in self._waiting[self._executors[tp.topic]]

    # -- topics that are deleted, and made anew ------------------------------------------------------------------------

    def logs(self) -> set[str]:
        """The topics of all queues, and of their retries."""
        return {each for topic in self._executors for each in (topic, retry_topic(topic))}

    def check(self, ids: Mapping[str, str | None]) -> None:
        """Compare the logs that are read and written with the ids that topics have by now, None for one that is gone.

        A partition of which a log is another one is let go and opened again. What was read of the old log is dropped,
        and what still runs is cancelled: none of it is finished in the new one.
        """
        for topic in ids:
            self._see(topic, there=ids[topic] is not None)
        replaced: dict[str, int] = {}
        for tp, partition in [*self._partitions.items()]:
            anew = self._replaced(tp, partition, ids)
            if anew:
                for place in anew:
                    replaced[place.topic] = replaced.get(place.topic, 0) + 1
                self._restart(tp, anew)
        for topic, count in replaced.items():
            logger.error(
                "%s was deleted and made anew: its %d partitions here are read from the start. Of the old ones nothing"
                " more is run or committed; jobs that run are cancelled", topic, count,
            )  # fmt: skip

    def _replaced(self, tp: TopicPartition, partition: WorkPartition, ids: Mapping[str, str | None]) -> Anew:
        anew: dict[TopicPartition, int | None] = {}
        for place, offsets in _logs(tp, partition):
            now = ids.get(place.topic) or UNKNOWN
            if differ(offsets.log, now) and now not in self._gone:
                anew[place] = None
            elif offsets.log == UNKNOWN != now:
                offsets.log = now
                offsets.touch()
        return anew

    def _see(self, topic: str, *, there: bool) -> None:
        if there:
            if topic in self._missing:
                self._missing.discard(topic)
                logger.warning("%s is there again", topic)
                self.on_found()
                self.on_finish()
        elif topic not in self._missing:
            self._missing.add(topic)
            logger.error(
                "%s is not there any more: somebody has deleted it. Nothing is read from it or committed for it until"
                " there is one again; what was read of it runs on, and so do all other queues. Create it, or remove the"
                " queue from this worker", topic,
            )  # fmt: skip

    def withhold(self, topics: Iterable[str]) -> None:
        """Commit nothing for topics that the group's coordinator does not find, until `check` has seen them."""
        for topic in topics:
            self._see(topic, there=False)

    def _retries_replaced(self, partition: WorkPartition) -> None:
        """An answer shows that a retry log is another one: before anything is finished by that."""
        for tp, mine in self._partitions.items():
            if mine is partition:
                logger.error(
                    "%s-%d has given an offset twice: the topic was made anew, or the broker has lost what it had"
                    " acknowledged. Reading it from its start; %d jobs were parked there.", *tp.retry, partition.parked,
                )  # fmt: skip
                self._restart(tp, {tp.retry: None})
                return

    def _restart(self, tp: TopicPartition, anew: Anew) -> None:
        """Open a partition again: a log of it was replaced by another one."""
        partition = self._partitions[tp]
        self._gone.update(offsets.log for place, offsets in _logs(tp, partition) if place in anew and offsets.log)
        self._lose(tp)
        self._executors[tp.topic].forget_lost()
        self._trials.forget_lost()
        self._share_limits()
        self.on_restart(tp, anew)

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
            self._restart(batch.tp, {batch.tp: batch.records[0].offset})
            return
        executor = self._executors[batch.tp.topic]
        executor.submit(partition.admit(batch.records))
        if batch.passed is not None:
            partition.pass_over(*batch.passed)
        executor.divert(partition)
        executor.stir(partition)
        if partition.full:
            self._closed[partition] = batch.tp
        elif executor.satiated():
            self._waiting[executor].append(batch.tp)
        else:
            self.on_room(batch.tp)

    def pass_over(self, tp: TopicPartition, epoch: int, span: Span) -> None:
        """Read on behind what holds no job, unless that was fetched in an earlier epoch."""
        partition = self._partitions.get(tp)
        if partition is not None and epoch == self.epoch and partition.pass_over(*span):
            self.progressed(partition)

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
            for place, offsets in _logs(tp, partition)
            if offsets.dirty and place.topic not in self._missing
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


def _logs(tp: TopicPartition, partition: WorkPartition) -> list[tuple[TopicPartition, OffsetTracker]]:
    """The logs of a partition: the queue's, and that of its retries."""
    retries = partition.retries
    return [(tp, partition.offsets)] if retries is None else [(tp, partition.offsets), (tp.retry, retries)]


def _restore(tp: TopicPartition, place: Committed) -> OffsetTracker:
    offsets = _restored(tp, place)
    # A broker that gives no id says nothing against the one that is known.
    offsets.log = place.log or offsets.log
    return offsets


def _tell_of_moves(tp: TopicPartition, queue: Committed, retries: Committed) -> None:
    """Say where somebody else has moved the group, since nobody but the log can tell which jobs ran."""
    by = (
        "was committed by something other than a worker of this version: kafka-consumer-groups.sh --reset-offsets, or a"
        " worker of an earlier one that has stopped in order"
    )
    if queue.moved:
        logger.warning("%s-%d: offset %d %s: no job below it runs, and all from it on run.", *tp, queue.offset, by)
    if retries.moved:
        logger.warning(
            "%s-%d: offset %d %s: jobs that are parked below it wait no longer and never run.",
            *tp.retry, retries.offset, by,
        )  # fmt: skip


def _restored(tp: TopicPartition, place: Committed) -> OffsetTracker:
    if place.offset is None:
        return OffsetTracker(place.start)
    if place.anew:
        logger.error(
            "%s-%d: what is committed, offset %d, is of another log than this one, which ends at %d: the topic was made"
            " anew. Reading it from %d.",
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
