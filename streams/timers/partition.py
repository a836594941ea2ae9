"""The timers of one partition: takes in what its log says, and says what is to be written when jobs fall due.

What makes that a job is fired once: its records, the job in its queue's topic and a tombstone here, are written in one
transaction; whoever gets the partition first makes sure that no other's transaction can be committed any more, and then
reads the log to its end, before it fires anything. Between a firing and its own tombstone's coming back, whatever the
log has of the job comes before that tombstone, and counts no more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeGuard

from producers.delayed.entries import Ended, Malformed, OfSchedule, Rescheduled, Waiting, read_entry
from producers.routing.topics import dead_topic, queue_topic, scheduled_topic
from schemas.headers import Origin, command_key, fired_mark, still_waiting, when_due, with_failure
from streams.ports.records import OutgoingRecord
from streams.ports.timers import TimerRecord
from streams.timers.store import MalformedRecord, TimerStore, WaitingJob

logger = logging.getLogger(__name__)

#: How long is remembered which jobs were fired that had been moved here: whoever moves one twice does so at its
#: worker's restart. It is less than the log keeps tombstones (`delete.retention.ms`). Milliseconds.
REMEMBERED_MS = 12 * 3_600_000

#: How long a due job waits that its queue does not take. Milliseconds.
HELD_MS = 5_000

_MALFORMED = "ScheduledRecordInvalid"
_REFUSED = "QueueRefused"


class Firing(NamedTuple):
    """Records that are to be written in one transaction, and what they settle.

    jobs       those that fall due; their records are the first ones, in this order, one each
    keys       of records that say nothing any more
    malformed  records that are none of ours
    renewed    keys of records that are written again
    """

    records: list[OutgoingRecord]
    jobs: Sequence[WaitingJob] = ()
    keys: Sequence[bytes] = ()
    malformed: Sequence[MalformedRecord] = ()
    renewed: Sequence[bytes] = ()


class PartitionTimers:
    """What waits in one partition of the topic of delayed jobs, while it is this worker's. Belongs to one thread.

    mark  tells this owner's tombstones from others'
    """

    def __init__(self, number: int, store: TimerStore, *, namespace: str, mark: bytes) -> None:
        self.number = number
        self.store = store
        self._namespace = namespace
        self._topic = scheduled_topic(namespace)
        self._mark = mark
        #: Jobs that this owner has fired and whose tombstones it has not read yet, each with the offset of the last
        #: record that was written with its tombstone: compaction may take that away before it is read.
        self._fired: dict[bytes, float] = {}
        #: Other keys that it has written tombstones of, because of records that say nothing any more; and what it has
        #: found before those, which compaction takes away with them: to be written again.
        self._cleared: dict[bytes, float] = {}
        self._renewed: dict[bytes, TimerRecord] = {}
        #: The offset up to which the log is to be read before anything is fired; None while that is not known.
        self._load_to: int | None = None
        self._read_to = store.position

    @property
    def dead_topic(self) -> str:
        """Where records go that are no delayed jobs."""
        return dead_topic(self._topic)

    @property
    def position(self) -> int:
        """The offset from which the log is to be read."""
        return self._read_to

    @property
    def loaded(self) -> bool:
        """Whether all is known that the log had when the partition became this worker's alone."""
        return self._load_to is not None and self._read_to >= self._load_to

    @property
    def load_to_offset(self) -> int | None:
        """The offset up to which the log is to be read before anything is fired, if that is known."""
        return self._load_to

    @property
    def fenced(self) -> bool:
        """Whether the partition is this worker's alone, so that its log can be loaded."""
        return self._load_to is not None

    def load_to(self, end: int) -> None:
        """Fire nothing before the log has been read up to an offset: its end, once nobody else can fire any more."""
        self._load_to = end
        self._fired.clear()
        self._cleared.clear()

    def begin_again(self) -> None:
        """Fire nothing before the partition is known to be this worker's alone."""
        self._load_to = None

    # -- what the log says ---------------------------------------------------------------------------------------------

    def take(self, records: Sequence[TimerRecord], now_ms: int, end: int | None = None) -> None:
        """Take in what has come, and where the log goes on after it. Raises StoreFull: nothing of it was taken in."""
        new = [record for record in records if record.offset >= self._read_to]
        position = max(self._read_to, end or 0, new[-1].offset + 1 if new else 0)
        if not new:
            self._read_to = position
            self._let_go(position)
            return
        came_back: set[bytes] = set()
        with self.store.changing(now_ms, position):
            for record in new:
                self._take_one(record, now_ms, came_back)
        for key in came_back:
            self._fired.pop(key, None)
            self._cleared.pop(key, None)
        self._read_to = position
        self._let_go(position)

    def _let_go(self, offset: int) -> None:
        """What is read from an offset on lies behind the tombstones that were written before it."""
        for written in (self._fired, self._cleared):
            for key in [key for key, last in written.items() if last < offset]:
                del written[key]

    def _is_before_tombstone(self, key: bytes, offset: int, came_back: set[bytes]) -> bool:
        """Whether a record of a key lies before the tombstone that this owner has written of it."""
        return key not in came_back and (offset <= self._fired.get(key, -1) or offset <= self._cleared.get(key, -1))

    def _take_one(self, record: TimerRecord, now_ms: int, came_back: set[bytes]) -> None:
        store, key, headers = self.store, record.key or b"", record.headers or ()
        entry = read_entry(key, record.value, record.headers, self._namespace)
        before = self._is_before_tombstone(key, record.offset, came_back)
        if before and key in self._cleared and not isinstance(entry, Ended):
            self._renewed[key] = record
        if isinstance(entry, Waiting):
            job = entry.job
            if before and key in self._fired:
                return
            if job.moved_from is not None and store.was_moved(job.moved_from):
                logger.info("job %s was moved twice from %s, and has gone already", job.id, job.moved_from)
                store.remove(job.id)
                store.note_unneeded(job.id)
                return
            store.add(record.offset, job, record.value or b"", headers)
            store.forget_unneeded([key])
        elif isinstance(entry, Ended):
            self._end(entry, now_ms, came_back)
        elif isinstance(entry, Rescheduled):
            gone = self._is_before_tombstone(entry.id, record.offset, came_back) and entry.id in self._fired
            if gone or not store.change_due(entry.id, entry.due_ms):
                store.note_unneeded(key)
            else:
                store.forget_unneeded([key])
        elif isinstance(entry, Malformed):
            store.note_malformed(MalformedRecord(record.offset, record.key, record.value, headers, entry.why))
        else:
            assert isinstance(entry, OfSchedule)  # noqa: S101 - recurring schedules are to come

    def _end(self, ended: Ended, now_ms: int, came_back: set[bytes]) -> None:
        if ended.mark == self._mark:
            came_back.add(ended.id)
            if ended.id in self._fired:
                return  # All that there was to do for it was done when it was fired.
        if ended.moved_from is not None:
            self.store.note_moved(ended.moved_from, now_ms)
        if self.store.remove(ended.id):
            self.store.note_unneeded(command_key(ended.id))

    # -- what is to be written -----------------------------------------------------------------------------------------

    def next_due(self) -> int | None:
        """When there is something to be written, in epoch milliseconds; None where nothing waits, or not all is known.

        0: records that say nothing any more, or are none of ours.
        """
        if not self.loaded:
            return None
        return 0 if self._renewed or self.store.has_upkeep() else self.store.next_due()

    def firing(self, now_ms: int, most: int) -> Firing | None:
        """What is to be written of jobs that are due, at most so many; None where none is."""
        if not self.loaded:
            return None
        # One that has gone is in the store still where its disk is full.
        jobs = [job for job in self.store.due(now_ms, most) if job.job.id not in self._fired]
        return self.firing_of(jobs) if jobs else None

    def firing_of(self, jobs: Sequence[WaitingJob]) -> Firing:
        """What is to be written of these jobs."""
        records = [self._due_record(job) for job in jobs]
        for job in jobs:
            records += self._tombstones(job)
        return Firing(records, jobs)

    def upkeep(self, now_ms: int, most: int) -> Firing | None:
        """What is to be written because of records that say nothing any more, or are none of ours."""
        if not self.loaded or not (self._renewed or self.store.has_upkeep()):
            return None
        keys, malformed = self.store.unneeded(most), self.store.malformed(most)
        records = [self._tombstone(key, fired_mark(self._mark)) for key in keys]
        for record in malformed:
            records += self._set_aside(record, now_ms)
        for key, again in self._renewed.items():
            records.append(OutgoingRecord(self._topic, key, again.value, list(again.headers or ()), self.number))
        return Firing(records, (), keys, malformed, [*self._renewed])

    def giving_up(self, job: WaitingJob, why: str, now_ms: int) -> Firing:
        """What is to be written for a job that its queue never takes: its dead letter, in place of the job."""
        topic = queue_topic(self._namespace, job.job.queue)
        headers = with_failure(
            when_due(job.job, job.headers, job.due_ms),
            origin=Origin(self._topic, self.number, job.place),
            error_type=_REFUSED,
            error_message=why,
            error_stack="",
            now_ms=now_ms,
        )
        letter = OutgoingRecord(dead_topic(topic), job.job.key, job.value, headers, anywhere=True)
        return Firing([letter, *self._tombstones(job)], [job])

    def _set_aside(self, record: MalformedRecord, now_ms: int) -> Iterator[OutgoingRecord]:
        """The dead letter of a record that is none of ours, and what takes its place under its key.

        A job that waits under this key is written again: compaction leaves one record of a key, and it may be this one.
        """
        yield self._letter_of(record, now_ms)
        if record.key is None:
            return
        job = self.store.find(record.key)
        if job is None:
            yield self._tombstone(record.key, fired_mark(self._mark))
        else:
            headers = still_waiting(job.job, job.headers, job.due_ms)
            yield OutgoingRecord(self._topic, record.key, job.value, headers, self.number)

    def _due_record(self, job: WaitingJob) -> OutgoingRecord:
        topic = queue_topic(self._namespace, job.job.queue)
        return OutgoingRecord(topic, job.job.key, job.value, when_due(job.job, job.headers, job.due_ms))

    def _tombstones(self, job: WaitingJob) -> Iterable[OutgoingRecord]:
        yield self._tombstone(job.job.id, fired_mark(self._mark, job.job.moved_from))
        if job.commanded:
            yield self._tombstone(command_key(job.job.id), [])

    def _tombstone(self, key: bytes, headers: list[tuple[str, bytes]]) -> OutgoingRecord:
        return OutgoingRecord(self._topic, key, None, list(headers), self.number)

    def _letter_of(self, record: MalformedRecord, now_ms: int) -> OutgoingRecord:
        headers = with_failure(
            record.headers,
            origin=Origin(self._topic, self.number, record.place),
            error_type=_MALFORMED,
            error_message=record.why,
            error_stack="",
            now_ms=now_ms,
        )
        return OutgoingRecord(dead_topic(self._topic), record.key, record.value, headers, self.number, anywhere=True)

    # -- what has become of it -----------------------------------------------------------------------------------------

    def went(self, firing: Firing, last: int | None) -> None:
        """Note in memory that a firing's transaction is committed, whatever becomes of the file.

        last  the offset of its last record, if that is known
        """
        upto = float("inf") if last is None else last
        self._fired.update((job.job.id, upto) for job in firing.jobs)
        self._cleared.update((key, upto) for key in firing.keys)
        self._cleared.update((record.key, upto) for record in firing.malformed if self._has_no_job(record.key))
        for key in firing.renewed:
            self._renewed.pop(key, None)

    def _has_no_job(self, key: bytes | None) -> TypeGuard[bytes]:
        return key is not None and self.store.find(key) is None

    def written(self, firing: Firing, now_ms: int) -> None:
        """Note in the file what `went`. Raises StoreFull: then it is to be noted again."""
        with self.store.changing(now_ms):
            self.store.remove_places(job.place for job in firing.jobs)
            for job in firing.jobs:
                if job.job.moved_from is not None:
                    self.store.note_moved(job.job.moved_from, now_ms)
            self.store.forget_unneeded(firing.keys)
            self.store.forget_malformed(record.place for record in firing.malformed)

    def hold(self, jobs: Iterable[WaitingJob], now_ms: int) -> None:
        """Try some jobs again later, since their queue does not take them now."""
        with self.store.changing(now_ms):
            self.store.hold([job.place for job in jobs], now_ms + HELD_MS)

    def forget_old(self, now_ms: int) -> None:
        """Forget which moved jobs were fired long ago."""
        with self.store.changing(now_ms):
            self.store.forget_moved(now_ms - REMEMBERED_MS)
