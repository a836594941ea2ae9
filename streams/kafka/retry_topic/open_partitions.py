"""Opens newly assigned partitions: where the group left them, with what their retry logs hold."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from time import monotonic
from typing import Protocol

from schemas.headers import last_error, retry_state
from streams.core.offsets.commit_metadata import CommitMetadata
from streams.core.offsets.log_id import UNKNOWN
from streams.core.partition.parked_job import ParkedJob
from streams.core.partition.restore import Written
from streams.core.retry.unknown_jobs import MAY_BE_KNOWN_LATER
from streams.kafka.retry_topic.reader import RetryTopicReader, Stored
from streams.ports.group import ConsumerGroup, NotSettledYet, RebalancedMeanwhile
from streams.ports.records import Anew, PartitionStart, Record, TopicPartition, WorkPartition

logger = logging.getLogger(__name__)

#: How long a broker is not believed by which a log has become shorter. Who was its leader and has not heard yet that it
#: is no longer says so, and then the log has all that it had; else it has lost what was acknowledged. Seconds.
_DISBELIEF = 60.0

#: Partitions that a line names.
_NAMED = 5


class RestoredPartitions(Protocol):
    """Makes partitions from what the group has committed, and takes them over: the worker's assignment."""

    def restore(self, tp: TopicPartition, queue: PartitionStart, retries: PartitionStart) -> WorkPartition: ...
    def start(self, partitions: Mapping[TopicPartition, WorkPartition]) -> None: ...


class PartitionOpener:
    """Opens newly assigned partitions, for a rebalance: asks the group, reads retry logs, restores the assignment."""

    def __init__(self, assignment: RestoredPartitions, group: ConsumerGroup, logs: RetryTopicReader) -> None:
        self._assignment = assignment
        self._group = group
        self._logs = logs
        #: Since when logs are told to be shorter than they were, and when that was told last. Monotonic seconds.
        self._shorter: dict[TopicPartition, tuple[float, float]] = {}

    async def open(self, wanted: Collection[TopicPartition], restarts: Anew, overtaken: Callable[[], bool]) -> bool:
        """Open partitions and hand them to the assignment. Returns False if it was overtaken, and then nothing was.

        restarts   logs that are other ones than they were, whatever was committed, and where to start them
        overtaken  whether a rebalance has made it pointless

        Until the end nothing but this knows of the partitions, so whatever interrupts it leaves nothing behind.
        """
        try:
            ids = await self._ids(wanted)
            partitions, anew = await self._restore(wanted, restarts, ids, overtaken)
            await self._load(partitions, overtaken)
        except RebalancedMeanwhile:
            return False
        # Asked for only now: what the retry log says of a later position is then surely of another log.
        ends = await self._group.ends(wanted)
        # Whatever was asked by the name of a topic has been about one log, if the id is still the same.
        if await self._ids(wanted) != ids:
            raise NotSettledYet("a topic was made anew just now")
        if overtaken():
            return False
        for tp, partition in partitions.items():
            self._check_end(tp, ends[tp], partition.queue_seen)
        for tp, partition in partitions.items():
            partition.start(max(ends[tp], partition.offsets.next_offset), anew=tp in anew)
        self._shorter.clear()
        _log_suspects(partitions)
        self._assignment.start(partitions)
        return True

    async def _ids(self, wanted: Collection[TopicPartition]) -> dict[str, str]:
        """The ids of the topics that are there, and of their retry topics."""
        told = await self._group.ids({place.topic for tp in wanted for place in (tp, tp.retry)})
        return {topic: known for topic, known in told.items() if known is not None}

    async def _restore(
        self,
        wanted: Collection[TopicPartition],
        restarts: Anew,
        ids: Mapping[str, str],
        overtaken: Callable[[], bool],
    ) -> tuple[dict[TopicPartition, WorkPartition], set[TopicPartition]]:
        """Restore partitions as the group left them. Returns them, and those whose log is another one than then."""
        retries = {tp: tp.retry for tp in wanted}
        held = await self._group.committed([*wanted, *retries.values()])
        logs = await self._logs.bounds(retries.values(), overtaken)
        bounds = {**await self._group.bounds(wanted), **logs}

        def start_of(place: TopicPartition) -> PartitionStart:
            log = ids.get(place.topic, UNKNOWN)
            if place in restarts:
                return PartitionStart(restarts[place], CommitMetadata(log=log).text(0), *bounds[place], log)
            return PartitionStart(held[place].offset, held[place].metadata, *bounds[place], log)

        starts = {place: start_of(place) for place in bounds}
        for place, start in starts.items():
            self._check_end(place, start.end, start.reached)

        def is_anew(tp: TopicPartition) -> bool:
            # Owners commit both at once, and a broker forgets the commits of a topic that is deleted.
            forgotten = held[tp].offset is None and held[retries[tp]].offset is not None
            return tp in restarts or forgotten or starts[tp].anew

        anew = {tp for tp in wanted if is_anew(tp)}
        return {tp: self._assignment.restore(tp, starts[tp], starts[retries[tp]]) for tp in wanted}, anew

    def _check_end(self, place: TopicPartition, end: int, reached: int) -> None:
        """Raise NotSettledYet where a log ends before what it is known to have had, until that is told for long."""
        if end >= reached:
            return
        now = monotonic()
        since, told = self._shorter.get(place, (now, now))
        if now - told > _DISBELIEF:
            since = now  # That was another time.
        self._shorter[place] = since, now
        if now - since < _DISBELIEF:
            raise NotSettledYet(f"{place.topic}-{place.partition} ends at {end}, and had come to {reached} before")

    async def _load(self, partitions: Mapping[TopicPartition, WorkPartition], overtaken: Callable[[], bool]) -> None:
        """Read the retry logs. Raises RebalancedMeanwhile, and NotSettledYet."""
        loading = {tp.retry: partition for tp, partition in partitions.items() if not partition.loaded}
        starts = {tp: partition.retries.next_offset for tp, partition in loading.items() if partition.retries}
        if starts:
            async for tp, records, read_to in self._logs.read(starts, overtaken):
                loading[tp].load(_entries(records), read_to)
        for tp, partition in loading.items():
            if not partition.loaded:
                raise NotSettledYet(f"{tp.topic}-{tp.partition} ends sooner than it did a moment ago")


def _log_suspects(partitions: Mapping[TopicPartition, WorkPartition]) -> None:
    """Log that suspected jobs are started with care, and why they may be slow."""
    suspected = {tp: partition for tp, partition in partitions.items() if partition.crashes.has_suspects}
    if not suspected:
        return
    named = ", ".join("{}-{}".format(*tp) for tp in sorted(suspected)[:_NAMED])
    more = f" and {len(suspected) - _NAMED} more" if len(suspected) > _NAMED else ""
    suspects = sum(record.suspects for partition in suspected.values() for record in partition.crashes.records)
    logger.warning(
        "a worker died that had %s%s, or it was cut off: what it may have run starts a few at a time%s", named, more,
        f", and {suspects} jobs that ran at such a death one by one, with nothing beside them" if suspects else "",
    )  # fmt: skip


def _entries(records: Sequence[Stored]) -> list[tuple[ParkedJob[Record], Written]]:
    entries: list[tuple[ParkedJob[Record], Written]] = []
    for record in records:
        queue_offset, attempt, due_ms, generation, log = retry_state(record.headers, record.offset)
        if due_ms and last_error(record.headers) in MAY_BE_KNOWN_LATER:
            due_ms = 1  # This worker may know what the last one did not.
        entry: ParkedJob[Record] = ParkedJob(
            record, queue_offset, attempt=attempt, due_ms=due_ms, retry_offset=record.offset
        )
        entries.append((entry, Written(generation, log)))
    return entries
