"""The assigned partitions of a worker: takes fetched batches in, and decides what survives a rebalance.

The consumer brings news of the group (revoked, assigned) and fetched batches, and asks where to fetch from and what to
commit; executors report progress. All of it happens on the worker's event loop, and nothing here blocks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from producers.routing.topics import retry_topic
from streams.core.offsets.crash_record import CrashRecord
from streams.core.partition.partition import QueuePartition
from streams.ports.events import JobEvents
from streams.ports.group import GroupRequests
from streams.ports.records import (
    Anew,
    Batch,
    DueCommit,
    PartitionStart,
    Span,
    TopicPartition,
    WorkPartition,
)
from streams.worker.admission.quarantine import Quarantine
from streams.worker.admission.start_block import StartBlock
from streams.worker.backpressure import Backpressure
from streams.worker.executor import ExecutorReports, QueueExecutor
from streams.worker.packed_record import PackedRecord
from streams.worker.restored_offsets import restored_offsets, warn_of_moves
from streams.worker.topic_logs import TopicLogs, logs_of, tell_replaced

logger = logging.getLogger(__name__)


class _BeforeLoss(NamedTuple):
    """What this worker knew of a partition when it lost it: the generation in which it had got it, and its jobs."""

    generation: int
    #: Of the jobs of its queue, and of those of its retry log.
    crash_records: Sequence[CrashRecord]
    #: The generation in which it was given up to be opened again, since a log of it was made anew.
    restarted_in: int | None = None

    def restarted(self, generation: int, anew: Sequence[bool]) -> _BeforeLoss:
        """What is left of it where some of its logs were made anew: of their jobs nothing."""
        known = [CrashRecord() if is_anew else known for known, is_anew in zip(self.crash_records, anew, strict=True)]
        return self._replace(crash_records=known, restarted_in=generation)

    def was_last(self, generation: int, last_owner: int | None) -> bool:
        """Whether nobody else has had the partition since; `last_owner` is the generation that its retry log names."""
        return self.generation == last_owner or self.restarted_in == generation


class Assignment:
    """The partitions that this worker has been assigned, what of them may be fetched, and what there is to commit.

    The Kafka consumer brings assignments and fetched batches, and asks it for commits; executors run what is in it.

    executors     of the queues, by topic: made here, since they report to what they belong to
    requests      the consumer, as far as it is asked for anything
    backpressure  what is fetched no further
    retry_hold    seconds after its first failure within which a job comes back without a retry record
    replaced      called with a topic that was deleted and created again
    """

    def __init__(
        self,
        executors: Callable[[ExecutorReports], Mapping[str, QueueExecutor]],
        quarantine: Quarantine,
        requests: GroupRequests,
        backpressure: Backpressure,
        events: JobEvents,
        *,
        retry_hold: float,
        replaced: Callable[[str], None],
    ) -> None:
        self._quarantine = quarantine
        self._hold_ms = round(retry_hold * 1000)
        self._requests = requests
        self._backpressure = backpressure
        self._full = backpressure.full
        self._events = events
        self._finished = events.finished
        self._tell_replaced = replaced
        self._logs = TopicLogs(requests)
        self._partitions: dict[TopicPartition, WorkPartition] = {}
        self._left: dict[TopicPartition, _BeforeLoss] = {}
        #: Rises with every revocation; what was fetched in an earlier epoch is dropped.
        self.epoch = 0
        self._generation = -1
        #: Whether something has finished since `collect_commits` was last called.
        self._commit_wanted = False
        #: By topic.
        self.executors = executors(self)
        for executor in self.executors.values():
            quarantine.join(executor)

    # -- the group --------------------------------------------------------------------------------------------------

    def claim(self) -> None:
        """Have the next commits claim the partitions for this worker."""
        for partition in self._partitions.values():
            partition.crashes.claim()

    def release(self) -> None:
        """Have the next commits release the partitions: they are left in order."""
        for partition in self._partitions.values():
            partition.crashes.release()

    def block_starts(self) -> None:
        """Start nothing more and drop what is under way from the broker: the partitions are revoked."""
        self.epoch += 1
        for topic, executor in self.executors.items():
            executor.block(StartBlock.REBALANCE)
            executor.stop_holding(self._of(topic))
        self._quarantine.pause()

    def unblock_starts(self) -> None:
        """Start jobs again."""
        for partition in self._partitions.values():
            partition.hold_again()
        for executor in self.executors.values():
            executor.unblock(StartBlock.REBALANCE)
        self._quarantine.resume()

    async def quiet(self, timeout: float) -> bool:
        """Wait until no job runs and none is on its way to a retry topic, at most `timeout` seconds.

        Returns whether that was reached.
        """
        try:
            await asyncio.wait_for(self._all_quiet(), timeout)
        except TimeoutError:
            return False
        return True

    async def _all_quiet(self) -> None:
        for executor in self.executors.values():
            await executor.quiet()

    def reassign(self, assigned: Iterable[TopicPartition], generation: int) -> set[TopicPartition]:
        """Fence off what was not assigned again. Returns the partitions that are new to this worker.

        A partition goes on as it was only if nobody else can have owned it in between, which is so exactly when the
        group's generation is the one after that of the last assignment: every other owner would have needed a
        generation of its own.
        """
        assigned = set(assigned)
        kept = assigned if generation == self._generation + 1 else set()
        self._generation = generation
        self._lose([tp for tp in self._partitions if tp not in kept], self.executors.values())
        return assigned - self._partitions.keys()

    def _lose(self, lost: Sequence[TopicPartition], executors: Iterable[QueueExecutor]) -> None:
        """Let go of partitions, and have these executors, which may run them, forget them."""
        for tp in lost:
            partition = self._partitions.pop(tp)
            partition.lose()
            self._left[tp] = _BeforeLoss(partition.generation, partition.crashes.records)
            self._backpressure.forget(tp, partition)
        for executor in executors:
            executor.forget_lost()
        self._quarantine.forget_lost()
        if lost and self._events.revoked is not None:
            self._events.revoked(lost)

    def restore(self, tp: TopicPartition, queue: PartitionStart, retries: PartitionStart) -> WorkPartition:
        """Make a newly assigned partition, where the group left it; its retry log is to be loaded before `start`."""
        pressure = self._backpressure
        for place, was in ((tp, queue), (tp.retry, retries)):
            if self._logs.note_opened(place.topic, was):
                self._tell_replaced(place.topic)
        partition: WorkPartition = QueuePartition(
            restored_offsets(tp, queue),
            topic=tp.topic,
            number=tp.partition,
            limit_jobs=pressure.limit_jobs,
            limit_bytes=pressure.limit_bytes,
            budget=pressure.budgets[tp.topic],
            ordered=self.executors[tp.topic].ordered,
            pack=PackedRecord,
            hold_ms=self._hold_ms,
        )
        tracker = restored_offsets(tp.retry, retries)
        warn_of_moves(tp, queue, retries)
        last_owner = None if tracker.fence is None else tracker.fence.generation
        partition.open_retries(tracker, retries.end, self._generation)
        left = self._left.get(tp)
        if left is not None and left.was_last(self._generation, last_owner):
            # What was known of jobs of another log says nothing of those at the same offsets in this one.
            known = CrashRecord() if queue.anew else left.crash_records[0]
            partition.crashes.inherit([known, *left.crash_records[1:]])
        else:
            partition.crashes.suspect_below(queue.end, retries.end, pressure.limit_jobs)
        partition.crashes.claim()
        return partition

    def start(self, partitions: Mapping[TopicPartition, WorkPartition]) -> None:
        """Take over partitions that are loaded and started."""
        self._partitions.update(partitions)
        self._divide_limits()
        for tp, partition in partitions.items():
            self.executors[tp.topic].divert(partition)
        if partitions and self._events.assigned is not None:
            self._events.assigned([*partitions])

    def _divide_limits(self) -> None:
        for topic in self.executors:
            self._backpressure.divide_limits(topic, self._of(topic))

    def _of(self, topic: str) -> list[WorkPartition]:
        return [partition for tp, partition in self._partitions.items() if tp.topic == topic]

    def positions(self) -> dict[TopicPartition, int]:
        """Where to fetch next, for every partition."""
        return {tp: partition.offsets.next_offset for tp, partition in self._partitions.items()}

    def ids(self) -> dict[TopicPartition, str]:
        """The id of the log of every partition; UNKNOWN where it has none."""
        return {tp: partition.offsets.log for tp, partition in self._partitions.items()}

    def is_closed(self, tp: TopicPartition) -> bool:
        """Whether nothing of a partition is to be fetched: it is not open, or has enough (see Backpressure)."""
        return tp not in self._partitions or self._backpressure.why_closed(tp) is not None

    # -- topics that are deleted, and made anew ------------------------------------------------------------------------

    def logs(self) -> set[str]:
        """The topics of all queues, and of their retries."""
        return {each for topic in self.executors for each in (topic, retry_topic(topic))}

    def check(self, ids: Mapping[str, str | None]) -> None:
        """Compare the logs that are read and written with the ids that topics have by now, None for one that is gone.

        A partition of which a log is another one is given up and opened again. What was read of the old log is dropped,
        and what still runs is cancelled: none of it is finished in the new one.
        """
        for topic in ids:
            self._logs.note(topic, there=ids[topic] is not None)
        replaced: list[TopicPartition] = []
        for tp, partition in [*self._partitions.items()]:
            anew = self._logs.compare(tp, partition, ids)
            if anew:
                replaced += anew
                self._restart(tp, anew)
        tell_replaced(replaced)

    def withhold(self, topics: Iterable[str]) -> None:
        """Commit nothing for topics that the group's coordinator does not find, until `check` has seen them."""
        for topic in topics:
            self._logs.note(topic, there=False)

    def _restart(self, tp: TopicPartition, anew: Anew) -> None:
        """Open a partition again: a log of it was replaced by another one."""
        for place in anew:
            self._tell_replaced(place.topic)
        self._logs.forget(tp, self._partitions[tp], anew)
        self._lose([tp], [self.executors[tp.topic]])
        self._left[tp] = self._left[tp].restarted(self._generation, [tp in anew, tp.retry in anew])
        self._divide_limits()
        self._requests.reopen(tp, anew)

    # -- the flow ---------------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> None:
        """Take a fetched batch in, unless it is of an earlier epoch: then its records are fetched again."""
        partition = self._partitions.get(batch.tp)
        if partition is None or batch.epoch != self.epoch:
            return
        if batch.records[0].offset < partition.offsets.next_offset:
            logger.error(
                "%s-%d starts again at offset %d, and had come to %d: the topic was made anew. Reading it from there.",
                *batch.tp, batch.records[0].offset, partition.offsets.next_offset,
            )  # fmt: skip
            self._restart(batch.tp, {batch.tp: batch.records[0].offset})
            return
        executor = self.executors[batch.tp.topic]
        executor.submit(partition.admit(batch.records))
        if batch.passed is not None:
            partition.pass_over(*batch.passed)
        executor.divert(partition)
        executor.stir(partition)
        if partition.offsets.dirty:
            # Jobs that the retry log has told of are finished here by being read, and no job's end asks for a commit.
            self._want_commit()
        if partition.full:
            self._backpressure.close_full(batch.tp, partition)
        elif executor.check_and_arm_hungry():
            self._backpressure.close_enough(batch.tp)
        else:
            self._requests.fetch_again(batch.tp)

    def pass_over(self, tp: TopicPartition, epoch: int, span: Span) -> None:
        """Read on behind what holds no job, unless that was fetched in an earlier epoch."""
        partition = self._partitions.get(tp)
        if partition is not None and epoch == self.epoch and partition.pass_over(*span):
            self.progressed(partition)

    def tick(self, now_ms: int) -> None:
        """Start what has become due by now; to be called many times a second."""
        self._backpressure.reopen_all_drained()
        for tp, partition in self._partitions.items():
            due = partition.next_due
            if due is not None and due <= now_ms:
                self.executors[tp.topic].stir(partition)

    # -- what executors report: see ExecutorReports --------------------------------------------------------------------

    def progressed(self, partition: WorkPartition) -> None:
        """Something of a partition is finished, or the partition is lost."""
        self._want_commit()
        if self._full and partition in self._full:
            self._backpressure.reopen_drained(partition)
        if self._finished is not None:
            self._finished(TopicPartition(partition.topic, partition.number))

    def _want_commit(self) -> None:
        if not self._commit_wanted:
            self._commit_wanted = True
            self._requests.commit_soon()

    def retry_log_replaced(self, partition: WorkPartition) -> None:
        """Open a partition again whose retry log is another one, before anything is finished by what has shown it."""
        tp = TopicPartition(partition.topic, partition.number)
        if self._partitions.get(tp) is partition:
            logger.error(
                "%s-%d has given an offset twice: the topic was made anew, or the broker has lost what it had"
                " acknowledged. Reading it from its start; %d jobs were parked there.", *tp.retry, partition.parked,
            )  # fmt: skip
            self._restart(tp, {tp.retry: None})

    # -- commits ----------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Commit everything again.

        A broker forgets what was committed long ago (`offsets.retention.minutes`) of topics that no member of the group
        subscribes to, as of retry topics.
        """
        for partition in self._partitions.values():
            partition.request_commit()
        if self._partitions:
            self._requests.commit_soon()

    def collect_commits(self) -> list[DueCommit]:
        """Returns what there is to commit; what finishes from now on is asked for anew.

        A job that has moved to the retry topic is pending there and finished here, so both go into one request.
        """
        self._commit_wanted = False
        return [
            DueCommit(place, offsets, offsets.commit(), partition)
            for tp, partition in self._partitions.items()
            for place, offsets in logs_of(tp, partition)
            if offsets.dirty and place.topic not in self._logs.missing
        ]

    def commits_acknowledged(self, commits: Iterable[DueCommit]) -> None:
        """Note that the broker holds these commits."""
        commits = [*commits]
        for _tp, offsets, commit, partition in commits:
            offsets.acknowledge(commit)
            if partition in self._full:
                self._backpressure.reopen_drained(partition)
        if commits and self._events.committed is not None:
            self._events.committed({each.tp: each.commit.watermark for each in commits})
        self._quarantine.committed()

    def partition(self, tp: TopicPartition) -> WorkPartition | None:
        """An open partition; None if this worker has it not, or not open."""
        return self._partitions.get(tp)

    @property
    def assigned(self) -> int:
        """How many partitions this worker has."""
        return len(self._partitions)

    @property
    def active(self) -> int:
        """Jobs that run."""
        return sum(executor.active for executor in self.executors.values())

    @property
    def writing(self) -> int:
        """Jobs whose retry record or dead letter the broker has not acknowledged yet."""
        return sum(executor.writing for executor in self.executors.values())

    @property
    def pending(self) -> int:
        """Jobs that are read and not finished, apart from those that wait in a retry topic."""
        return sum(partition.offsets.pending for partition in self._partitions.values())

    @property
    def parked(self) -> int:
        """Jobs that wait in a retry topic, for their time or behind one that does."""
        return sum(partition.parked for partition in self._partitions.values())
