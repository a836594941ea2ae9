"""One assigned partition of a queue and of its retry topic: offsets, lanes, parked keys, and whether more fits in.

A job is in one of four states: *queued*, in a lane, read from the queue and unfinished there; *held*, which is the same
in a parked lane; *writing*, on its way to the retry log and still unfinished where it was; or *parked*, unfinished in
the retry log. The invariants, which the tests name:

    order     a key has a lane or a parked lane, never both; a parked lane runs in the order of its queue offsets
    diverted  what is read of a parked key goes to the retry log untried, behind the key's parked lane
    held      behind a head that comes back soon it stays the queue's, and so does such a head, until it has failed for
              too long, too much is held, or the partition may go to another owner: then what has failed is written
    finish    an offset is finished only when the record that replaces it, or the outcome, is durable
    unique    at most one entry a queue offset; a record whose retry record is known already is finished, not written
    loaded    nothing of the queue is admitted before the retry log was read
    runnable  a parked lane's head runs when it is held or acknowledged, due, and the queue was read past its queue
              offset
    lost      a partition that is lost does nothing any more
    fence     what an owner writes to the retry log after the next one has taken over counts for nobody
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Generic, TypeVar

from streams.core.offsets.fence import Fence
from streams.core.offsets.tracker import OffsetTracker
from streams.core.partition.capacity import HEADER_SIZE, LargeHeaders, ParkedBudget, Record, size_of, small_size
from streams.core.partition.crashes import PartitionCrashes
from streams.core.partition.lanes import IndependentLanes, Lane, Lanes
from streams.core.partition.parked import ParkedLane, ParkedLanes
from streams.core.partition.parked_job import NOT_WRITTEN, Pack, ParkedJob
from streams.core.partition.restore import ParkedJobsRestore, Written

R = TypeVar("R", bound=Record)

#: Of so many jobs that may be in memory one may be held: what goes beyond that is written.
_ONE_HELD_OF = 4


class QueuePartition(Generic[R]):
    """One assigned partition of a queue, with its retry partition, from its assignment until it is lost.

    The Assignment puts fetched records in, and the queue's Executor runs the lanes that come out and reports back.

    `limit_jobs` and `limit_bytes` bound what is in memory of the queue, running or waiting; `budget`, which it
    may share with others, what is parked. A partition over any of them is `full` and reads no further until it
    `may_read_again`. Bytes are those of values, keys and headers: see capacity.py.

    Where it is not `ordered`, every job is a lane of its own and holds back nobody. `pack` has a parked job's record
    take less memory. A job that comes back within `hold_ms` of its first failure is held, as is what waits behind it.
    """

    __slots__ = (
        "_bytes",
        "_diverted",
        "_held",
        "_hold_ms",
        "_lanes",
        "_large",
        "_may_hold",
        "_pack",
        "_parked_by_key",
        "_parked_lanes",
        "_restoring",
        "budget",
        "crashes",
        "generation",
        "limit_bytes",
        "limit_jobs",
        "lost",
        "number",
        "offsets",
        "parked_bytes",
        "retries",
        "topic",
        "writing",
    )

    def __init__(
        self,
        offsets: OffsetTracker,
        *,
        topic: str = "",
        number: int = 0,
        limit_jobs: int,
        limit_bytes: int,
        budget: ParkedBudget | None = None,
        ordered: bool = True,
        pack: Pack[R] = lambda record, key: record,
        hold_ms: int = 0,
    ) -> None:
        self.topic = topic
        self.number = number
        self.offsets = offsets
        #: Offsets of the retry partition; None until `open_retries`, and nothing can be postponed before.
        self.retries: OffsetTracker | None = None
        #: Of the group, in which this owner has got it.
        self.generation = 0
        #: Which of its jobs may have killed their worker.
        self.crashes = PartitionCrashes(offsets)
        self.limit_jobs = limit_jobs
        self.limit_bytes = limit_bytes
        self.budget = budget or ParkedBudget()
        if budget is None:
            self.budget.divide_among([self])
        self.lost = False
        #: Records on their way to the retry log. A clean stop waits until there are none.
        self.writing = 0
        self._bytes = 0
        self._large = LargeHeaders()
        #: Bytes of the jobs that are parked.
        self.parked_bytes = 0
        self._lanes: Lanes[R, QueuePartition[R]] = Lanes(self) if ordered else IndependentLanes(self)
        self._parked_lanes: ParkedLanes[R, QueuePartition[R]] = ParkedLanes(self, ordered=ordered)
        self._parked_by_key = self._parked_lanes.lanes
        self._pack = pack
        self._restoring: ParkedJobsRestore[R] | None = None
        self._diverted: list[ParkedJob[R]] = []
        self._hold_ms = hold_ms
        #: Whether jobs may be held, and how many are.
        self._may_hold = True
        self._held = 0

    # -- the retry log on assignment ----------------------------------------------------------------------------------

    def open_retries(self, retries: OffsetTracker, end: int, generation: int = 0) -> None:
        """Give it the retry partition; then `load` from its next offset on, and `start`.

        end         of the retry log; must have been asked for since the partition was assigned
        generation  of the group, in which this owner has got the partition
        """
        self.retries = retries
        self.crashes.add_retries(retries)
        self.generation = generation
        fence = Fence(end, generation)
        fences = [fence] if retries.fence is None or retries.fence.offset > end else [retries.fence, fence]
        self._restoring = ParkedJobsRestore(end, fences, self.offsets.log)
        retries.raise_fence(fence)

    @property
    def loaded(self) -> bool:
        """Whether the retry log was read up to the end that was known at assignment, or there is none."""
        return self._restoring is None or self._retries.next_offset >= self._restoring.end

    def load(self, entries: Sequence[tuple[ParkedJob[R], Written]], read_to: int | None = None) -> None:
        """Take in records of the retry log as entries with their offset, in its order and without leaving any out.

        entries  each with what its record says of its writing
        read_to  the next offset to read, where the log goes on behind the last of them with what are no records

        A queue offset below 0 is of no queue's log: an entry that lacks one gets one of its own there. Does nothing on
        a lost partition.
        """
        if self.lost:
            return
        restoring = self._restoring
        if restoring is None:
            raise RuntimeError(f"{self}: the retry log is read on assignment only")
        retries = self._retries
        for entry, written in entries:
            if retries.read(entry.retry_offset):
                key = entry.record.key
                entry.pack(self._pack, key)
                superseded = restoring.add(key, entry, written)
                if superseded is not None:
                    retries.finish(superseded)
        if read_to is not None:
            retries.skip_to(read_to)

    @property
    def queue_seen(self) -> int:
        """One past the last offset that the queue's log must have had, as what was loaded shows; 0 after `start`."""
        return 0 if self._restoring is None else self._restoring.queue_seen

    def start(self, queue_end: int, *, anew: bool = False) -> None:
        """Form the parked lanes of what was loaded; from now on the queue may be read.

        queue_end  where the queue's log ends. Ask the broker for it once all is loaded: what lies beyond it is then
                   surely of a log that is gone
        anew       whether that log is known to be another one than was read before

        What is of a log that is gone runs before the rest: see ParkedJobsRestore.in_order, and `take_diverted` for what
        of it is to be written again. Does nothing on a lost partition.
        """
        if self.lost:
            return
        restoring = self._restoring
        if restoring is None or not self.loaded:
            raise RuntimeError(f"{self}: the retry log must be read to its end first")
        self._restoring = None
        entries, moved = restoring.in_order(queue_end, anew=anew)
        for entry in moved:
            entry.writing = True
        self._diverted += moved
        self.writing += len(moved)
        for entry in entries:
            self._parked_lanes.add(entry.record.key, entry)
            self.parked_bytes += size_of(entry.record)
        for parked_lane in self._parked_by_key.values():
            self._parked_lanes.wait(parked_lane, self.offsets.next_offset)

    def set_limits(self, *, jobs: int, size: int) -> None:
        """Change how many jobs of the queue may be in memory, and how many bytes of them."""
        self.limit_jobs, self.limit_bytes = jobs, size

    # -- what fits in -------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether no more of the queue should be read for now."""
        offsets = self.offsets
        return offsets.load >= self.limit_jobs or self._bytes >= self.limit_bytes or offsets.map_full or self._crowded

    @property
    def may_read_again(self) -> bool:
        """Whether a full partition has drained far enough to read again."""
        offsets = self.offsets
        return (
            offsets.load <= self.limit_jobs * 3 // 4
            and self._bytes <= self.limit_bytes * 3 // 4
            and (not offsets.map_full or offsets.load == 0)
            and not self._crowded
        )

    @property
    def parked(self) -> int:
        """How many jobs of it wait in the retry log, for their time or behind one that does."""
        return 0 if self.retries is None else self.retries.pending

    @property
    def _crowded(self) -> bool:
        """Whether as much is parked as may be.

        Never where a head waits for the queue to be read on, or the two would wait for each other. A partition may be
        read again as soon as it is no longer crowded: each batch makes up for many jobs that end.
        """
        retries = self.retries
        if retries is None or self._parked_lanes.unread:
            return False
        return self.budget.crowded(self) or self._scattered(retries)

    def _scattered(self, retries: OffsetTracker) -> bool:
        """Whether the retry log's map might not fit any more, if all jobs in memory were parked and finished in the
        worst order.

        The jobs of a parked lane finish in their order, so those of the longest one are a run of the map and no more,
        whatever lies between them: a hundred thousand of one key are no burden.
        """
        headroom = retries.map_headroom - self.offsets.load
        return headroom <= 0 and headroom + self._parked_lanes.longest <= 0

    # -- the queue ----------------------------------------------------------------------------------------------------

    def admit(self, records: Sequence[R]) -> list[Lane[R, QueuePartition[R]]]:
        """Queue records (at least one) in the order of their offsets, but for finished ones. Returns lanes made ready.

        Those of parked keys are diverted: see `take_diverted`. Heads of parked lanes may have become due: see `ready`.
        """
        if self.lost:
            return []
        if self._restoring is not None:
            raise RuntimeError(f"{self}: the queue is read when its retry log was")
        ready = []
        lanes = self._lanes
        fresh = records
        if not self.offsets.read_all([record.offset for record in records]):
            read = self.offsets.read
            fresh = [record for record in records if read(record.offset)]
        if self._parked_by_key:
            fresh = self._divert(fresh)
        size = 0
        for record in fresh:
            key = record.key
            size += len(record.value or b"") + len(key or b"") + HEADER_SIZE * len(record.headers)
            lane = lanes.add(key, record)
            if lane is not None:
                ready.append(lane)
        self._bytes += size + self._large.add(fresh)
        if self._held and self._holds_too_much:
            self._release_held()
        return ready

    def _divert(self, records: Sequence[R]) -> list[R]:
        """Divert the records of parked keys. Returns the others."""
        find = self._parked_lanes.find
        others = []
        for record in records:
            parked_lane = find(record.key, record.offset)
            if parked_lane is None:
                others.append(record)
            elif parked_lane.contains(record.offset):
                self.offsets.finish(record.offset)
            else:
                # What comes before the head, which was loaded then, is written: it becomes the head when that is done.
                held = parked_lane.holding and record.offset > parked_lane.entry.queue_offset
                entry = ParkedJob(record, record.offset, writing=not held)
                self._parked_lanes.insert(parked_lane, entry)
                self._bytes += size_of(record)
                if held:
                    self._held += 1
                else:
                    self._diverted.append(entry)
                    self.writing += 1
        self._parked_lanes.read_on(self.offsets.next_offset)
        return others

    @property
    def _holds_too_much(self) -> bool:
        """Whether the queue could not be read on for what is held."""
        return self._held > self.limit_jobs // _ONE_HELD_OF or self.full

    def _release_held(self) -> None:
        """Divert what is held and does not run."""
        for parked_lane in self._parked_by_key.values():
            if parked_lane.holding:
                self._diverted += self._to_write(parked_lane.release())

    def _to_write(self, held: Sequence[ParkedJob[R]]) -> Sequence[ParkedJob[R]]:
        """Have held entries be written from now on. Returns them."""
        for entry in held:
            entry.writing = True
        self._held -= len(held)
        self.writing += len(held)
        return held

    def stop_holding(self, taken_back: Collection[Lane[R, QueuePartition[R]]]) -> list[ParkedJob[R]]:
        """Hold no more jobs that fail until `hold_again`. Returns what to write of those that have failed: it may be
        that the partition goes to another owner, who should know of it.

        taken_back  lanes that were handed out, and will not be run: each is handed out again once its head is written
        """
        self._may_hold = False
        if self.lost or not self._held:
            return []
        lanes = [lane for lane in self._parked_by_key.values() if lane.failed_unwritten]
        failed = [lane.suspend() for lane in lanes if lane.waiting or lane in taken_back]
        return [*self._to_write(failed)]

    def hold_again(self) -> None:
        """Hold jobs that fail again: the partition stays."""
        self._may_hold = True

    def pass_over(self, start: int, to: int) -> bool:
        """Read on at `to`, since the queue's log holds no job from `start` on.

        Returns False, and notes nothing, where `start` is not the next offset, or the partition is lost.
        """
        if self.lost or not self.offsets.pass_over(start, to):
            return False
        self._parked_lanes.read_on(to)
        return True

    def take_diverted(self) -> list[ParkedJob[R]]:
        """Returns, once, what `admit` has diverted and `start` has moved: to be written to the retry log, in this
        order."""
        diverted, self._diverted = self._diverted, []
        return [] if self.lost else diverted

    def finish(self, lane: Lane[R, QueuePartition[R]]) -> bool:
        """Finish the head of a lane, whose outcome is durable. Returns whether the lane is ready again.

        A parked lane that is not may have a head that waits for its time, see `next_due`. Does nothing on a lost
        partition: its offsets belong to another worker.
        """
        if self.lost:
            return False
        if self._parked_by_key and isinstance(lane, ParkedLane):
            return self._finish_parked(lane)
        record = lane.head
        self.offsets.finish(record.offset)
        # As small_size, without a call: this is done for every job.
        self._bytes -= len(record.value or b"") + len(record.key or b"") + HEADER_SIZE * len(record.headers)
        if self._large.sizes:
            self._bytes -= self._large.sizes.pop(record.offset, 0)
        return self._lanes.finish(lane)

    def _finish_parked(self, parked_lane: ParkedLane[R, QueuePartition[R]]) -> bool:
        entry, size = parked_lane.entry, size_of(parked_lane.head)
        if entry.held:
            self.offsets.finish(entry.queue_offset)
            self._bytes -= size
            self._held -= 1
        else:
            self._retries.finish(entry.retry_offset)
            self.parked_bytes -= size
        if not self._parked_lanes.leave(parked_lane):
            return False
        entry = parked_lane.entry
        if entry.untried and not entry.writing and entry.queue_offset < self.offsets.next_offset:
            return True
        self._parked_lanes.wait(parked_lane, self.offsets.next_offset)
        return False

    # -- retries ------------------------------------------------------------------------------------------------------

    def postpone(
        self,
        lane: Lane[R, QueuePartition[R]],
        attempt: int,
        due_ms: int,
        now_ms: int = 0,
        failure: tuple[str, str] | None = None,
    ) -> Sequence[ParkedJob[R]]:
        """Park the head of a lane, and its key with it. Returns what to write to the retry log, in this order.

        attempt  attempts made so far, this run included if it counts
        due_ms   epoch milliseconds; where that is soon after `now_ms` it is held, and nothing is written
        failure  type and message of what the run has failed with; None if the job has asked to come back

        The caller is done with the lane. Does nothing on a lost partition.
        """
        if self.lost:
            return []
        if self.retries is None:
            raise RuntimeError(f"{self}: no retry partition was opened")
        parked_lane = lane if isinstance(lane, ParkedLane) else self._park(lane)
        entry = parked_lane.entry
        # 0 says that a job was never tried.
        entry.come_back(attempt, max(1, due_ms), now_ms, failure)
        # What may have killed a worker is written: whoever has its lane then could not be asked for it.
        may_hold = self._may_hold and not (self.crashes.has_suspects or self._holds_too_much)
        holds = parked_lane.hold(due_ms, now_ms, self._hold_ms if may_hold else 0)
        if not entry.held:
            entry.writing = True
            self.writing += 1
            return [entry] if holds else [entry, *self._to_write(parked_lane.held_behind())]
        if not holds:
            return self._to_write([entry, *parked_lane.held_behind()])
        self._parked_lanes.wait(parked_lane, self.offsets.next_offset)
        return []

    def _park(self, lane: Lane[R, QueuePartition[R]]) -> ParkedLane[R, QueuePartition[R]]:
        """Make a parked lane of a lane, whose records are held and count exactly from now on."""
        entries = [ParkedJob(record, record.offset) for record in (lane.head, *(lane.rest or ()))]
        parked_lanes = [self._parked_lanes.add(entry.record.key, entry) for entry in entries]
        for entry in entries:
            counted = small_size(entry.record) + self._large.sizes.pop(entry.queue_offset, 0)
            self._bytes += size_of(entry.record) - counted
        self._held += len(entries)
        self._lanes.remove(lane)
        return parked_lanes[0]

    def wrote(self, entry: ParkedJob[R], offset: int) -> None:
        """Note that the broker holds an entry's record, and where: only now its old record is finished.

        Its lane may have become due by that: see `ready`. Does nothing on a lost partition. Raises LogReplaced, and
        notes nothing, where the offset shows that the retry log is another one by now.
        """
        if self.lost:
            return
        retries = self._retries
        retries.wrote(offset)
        former, entry.retry_offset = entry.retry_offset, offset
        entry.writing = False
        self.writing -= 1
        if former == NOT_WRITTEN:
            self.offsets.finish(entry.queue_offset)
            size = size_of(entry.record)
            self._bytes -= size
            self.parked_bytes += size
        else:
            retries.finish(former)
        key = entry.record.key
        parked_lane = self._parked_lanes.find(key, entry.queue_offset)
        if parked_lane is None:
            return
        if former == NOT_WRITTEN:
            # Those of a key share one object of it.
            parked_lane.pack(entry, self._pack, key if parked_lane.key is None else parked_lane.key)
        if parked_lane.entry is entry:
            self._parked_lanes.wait(parked_lane, self.offsets.next_offset)

    def ready(self, now_ms: int) -> list[ParkedLane[R, QueuePartition[R]]]:
        """Hand out the parked lanes whose heads may run by now. Returns each once.

        Ask when `next_due` has come; that may change whenever records are admitted or written, or a parked lane's head
        finishes.
        """
        if self.lost or self._restoring is not None:
            return []
        self._parked_lanes.read_on(self.offsets.next_offset)
        return self._parked_lanes.ready(now_ms)

    @property
    def next_due(self) -> int | None:
        """Epoch milliseconds (0: at once) when a parked lane will be ready; None if none waits for its time."""
        return None if self.lost else self._parked_lanes.next_due

    @property
    def _retries(self) -> OffsetTracker:
        if self.retries is None:
            raise RuntimeError(f"{self}: no retry partition was opened")
        return self.retries

    def __repr__(self) -> str:
        return f"{self.topic}-{self.number}"

    def request_commit(self) -> None:
        """Have a commit due although nothing has changed."""
        self.offsets.mark_changed()
        if self.retries is not None:
            self.retries.mark_changed()

    def lose(self) -> None:
        """Fence the partition off: nothing of it starts or finishes any more."""
        self.lost = True
