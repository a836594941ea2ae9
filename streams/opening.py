"""Opens newly assigned partitions: where the group left them, with what their retry logs hold."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from schemas.headers import last_error, retry_state
from streams.core import log_id
from streams.core.entry import Entry
from streams.core.loading import Written
from streams.core.log_id import UNKNOWN
from streams.core.unknown_jobs import MAY_BE_KNOWN_LATER
from streams.intake import Anew, Committed, Intake, TopicPartition
from streams.retry_log import Overtaken, RetryLogs, Stored
from streams.work import Record, WorkPartition

logger = logging.getLogger("streams.trials")

#: How long a broker is not believed by which a log has become shorter. Who was its leader and has not heard yet that it
#: is no longer says so, and then the log has all that it had; else it has lost what was acknowledged. Seconds.
_DISBELIEF = 60.0

#: Partitions that a line names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Held:
    """What the group has committed for a partition: an offset, None if it has none, and the map."""

    offset: int | None
    metadata: str


class Unsettled(Exception):
    """A log is not to be relied on just now: its leader has changed, or it was made anew. Open the partition again."""


class Group(Protocol):
    """What the consumer group and its topics say. Raises KafkaError for what may pass."""

    async def places(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Held]: ...
    async def bounds(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]: ...
    async def ends(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]: ...
    async def ids(self, topics: Collection[str]) -> Mapping[str, str | None]: ...


class Opening:
    """One opening of partitions. `overtaken` says whether a rebalance has made it pointless."""

    def __init__(self, intake: Intake, group: Group, logs: RetryLogs, overtaken: Callable[[], bool]) -> None:
        self._intake = intake
        self._group = group
        self._logs = logs
        self._overtaken = overtaken
        self._believes_from = monotonic() + _DISBELIEF

    async def open(self, wanted: Collection[TopicPartition], restarts: Anew) -> bool:
        """Open partitions and hand them to the intake; False if it was overtaken, and then nothing was.

        restarts  logs that are other ones than they were, whatever was committed, and where to start them

        Until the end nothing but this knows of the partitions, so whatever interrupts it leaves nothing behind.
        """
        try:
            ids = await self._ids(wanted)
            partitions, anew = await self._prepare(wanted, restarts, ids)
            await self._load(partitions)
        except Overtaken:
            return False
        # Asked for only now: what the retry log says of a later position is then surely of another log.
        ends = await self._group.ends(wanted)
        # Whatever was asked by the name of a topic has been about one log, if the id is still the same.
        if await self._ids(wanted) != ids:
            raise Unsettled("a topic was made anew just now")
        if self._overtaken():
            return False
        for tp, partition in partitions.items():
            self._believe(tp, ends[tp], partition.queue_seen)
        for tp, partition in partitions.items():
            partition.start(max(ends[tp], partition.offsets.position), anew=tp in anew)
        _tell_caution(partitions)
        self._intake.add(partitions)
        return True

    async def _ids(self, wanted: Collection[TopicPartition]) -> dict[str, str]:
        """The ids of the topics that are there, and of their retry topics."""
        told = await self._group.ids({place.topic for tp in wanted for place in (tp, tp.retry)})
        return {topic: known for topic, known in told.items() if known is not None}

    async def _prepare(
        self, wanted: Collection[TopicPartition], restarts: Anew, ids: Mapping[str, str]
    ) -> tuple[dict[TopicPartition, WorkPartition], set[TopicPartition]]:
        """The partitions as the group left them; and those whose log is another one than it was then."""
        retries = {tp: tp.retry for tp in wanted}
        held = await self._group.places([*wanted, *retries.values()])
        logs = await self._logs.bounds(retries.values(), self._overtaken)
        bounds = {**await self._group.bounds(wanted), **logs}

        def committed(tp: TopicPartition) -> Committed:
            log = ids.get(tp.topic, UNKNOWN)
            if tp in restarts:
                return Committed(restarts[tp], log_id.sign("", log), *bounds[tp], log)
            return Committed(held[tp].offset, held[tp].metadata, *bounds[tp], log)

        def is_anew(tp: TopicPartition) -> bool:
            # Owners commit both at once, and a broker forgets the commits of a topic that is deleted.
            forgotten = held[tp].offset is None and held[retries[tp]].offset is not None
            return tp in restarts or forgotten or committed(tp).anew

        for place in bounds:
            log = committed(place)
            self._believe(place, log.end, log.reached)
        anew = {tp for tp in wanted if is_anew(tp)}
        return {tp: self._intake.prepare(tp, committed(tp), committed(retries[tp])) for tp in wanted}, anew

    def _believe(self, place: TopicPartition, end: int, reached: int) -> None:
        """Raise Unsettled where a log ends before what it is known to have had, unless that is told for long."""
        if end < reached and monotonic() < self._believes_from:
            raise Unsettled(f"{place.topic}-{place.partition} ends at {end}, and had come to {reached} before")

    async def _load(self, partitions: Mapping[TopicPartition, WorkPartition]) -> None:
        """Read the retry logs. Raises Overtaken, and Unsettled."""
        loading = {tp.retry: partition for tp, partition in partitions.items() if not partition.loaded}
        starts = {tp: partition.retries.position for tp, partition in loading.items() if partition.retries}
        if starts:
            async for tp, records, read_to in self._logs.read(starts, self._overtaken):
                loading[tp].load(_entries(records), read_to)
        for tp, partition in loading.items():
            if not partition.loaded:
                raise Unsettled(f"{tp.topic}-{tp.partition} ends sooner than it did a moment ago")


def _tell_caution(partitions: Mapping[TopicPartition, WorkPartition]) -> None:
    """Log that jobs are started with caution, and why they may be slow."""
    cautious = {tp: partition for tp, partition in partitions.items() if partition.cautious}
    if not cautious:
        return
    named = ", ".join("{}-{}".format(*tp) for tp in sorted(cautious)[:_NAMED])
    more = f" and {len(cautious) - _NAMED} more" if len(cautious) > _NAMED else ""
    suspects = sum(custody.suspects for partition in cautious.values() for custody in partition.custodies)
    logger.warning(
        "a worker died that had %s%s, or it was cut off: what it may have run starts a few at a time%s", named, more,
        f", and {suspects} jobs that ran at such a death one by one, with nothing beside them" if suspects else "",
    )  # fmt: skip


def _entries(records: Sequence[Stored]) -> list[tuple[Entry[Record], Written]]:
    entries: list[tuple[Entry[Record], Written]] = []
    for record in records:
        position, attempt, due_ms, owner, log = retry_state(record.headers, record.offset)
        if due_ms and last_error(record.headers) in MAY_BE_KNOWN_LATER:
            due_ms = 1  # This worker may know what the last one did not.
        entry: Entry[Record] = Entry(record, position, attempt=attempt, due_ms=due_ms, offset=record.offset)
        entries.append((entry, Written(owner, log)))
    return entries
