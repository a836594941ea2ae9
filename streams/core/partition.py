"""One assigned partition of a queue and of its retry topic: offsets, lanes, parked keys, and whether more fits in.

A job is in one of three places: in a lane, read from the queue and unfinished there; *writing*, on its way to the retry
log and still unfinished where it was; or *parked*, unfinished in the retry log. The invariants, which the tests name:

    order     a key has a lane or a line, never both; a line's entries run in the order of their positions
    diverted  what is read of a parked key goes to the retry log untried, behind the key's line
    finish    an offset is finished only when the record that takes its place, or the outcome, is durable
    position  at most one entry a position; a record whose retry record is known already is finished, not written
    loaded    nothing of the queue is admitted before the retry log was read
    turn      a line's head runs when it is acknowledged, due, and the queue was read past its position
    lost      a partition that is lost does nothing any more
    fence     what an owner writes to the retry log after the next one has taken over counts for nobody
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from streams.core.custody import Custody
from streams.core.entry import NOT_WRITTEN, Entry
from streams.core.fence import Fence
from streams.core.lanes import Lane, Lanes, LooseLanes
from streams.core.loading import Loading, Written
from streams.core.offsets import OffsetTracker
from streams.core.parking import Line, Parking
from streams.core.room import Room
from streams.core.sizes import HEADER_SIZE, LargeHeaders, Record, size_of, small_size

R = TypeVar("R", bound=Record)


class Partition(Generic[R]):
    """The work of one partition from its assignment until it is lost.

    `limit_jobs` and `limit_bytes` bound what is held in memory of the queue, running or waiting; `room`, which it may
    share with others, what is parked. A partition over any of them is `full` and reads no further until it is `roomy`
    again. Bytes are those of values, keys and headers: see sizes.py.

    Where it is not `ordered`, every job is a line of its own and holds back nobody.
    """

    __slots__ = (
        "_bytes",
        "_diverted",
        "_lanes",
        "_large",
        "_lines",
        "_loading",
        "_parking",
        "cautious",
        "generation",
        "limit_bytes",
        "limit_jobs",
        "lost",
        "number",
        "offsets",
        "parked_bytes",
        "retries",
        "room",
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
        room: Room | None = None,
        ordered: bool = True,
    ) -> None:
        self.topic = topic
        self.number = number
        self.offsets = offsets
        #: Offsets of the retry partition; None until `open_retries`, and nothing can be postponed before.
        self.retries: OffsetTracker | None = None
        #: Of the group, in which this owner has got it.
        self.generation = 0
        #: Whether any of its jobs may have killed their worker: see custody.py.
        self.cautious = False
        self.limit_jobs = limit_jobs
        self.limit_bytes = limit_bytes
        self.room = room or Room()
        if room is None:
            self.room.share([self])
        self.lost = False
        #: Records on their way to the retry log. A clean stop waits until there are none.
        self.writing = 0
        self._bytes = 0
        self._large = LargeHeaders()
        #: Bytes of the jobs that are parked.
        self.parked_bytes = 0
        self._lanes: Lanes[R, Partition[R]] = Lanes(self) if ordered else LooseLanes(self)
        self._parking: Parking[R, Partition[R]] = Parking(self, ordered=ordered)
        self._lines = self._parking.lines
        self._loading: Loading[R] | None = None
        self._diverted: list[Entry[R]] = []

    # -- the retry log on assignment ----------------------------------------------------------------------------------

    def open_retries(self, retries: OffsetTracker, end: int, generation: int = 0) -> None:
        """Give it the retry partition, whose log ends at `end`; then `load` from its position on, and `start`.

        generation  of the group, in which this owner has got the partition; `end` must have been asked for since
        """
        self.retries = retries
        self.generation = generation
        fence = Fence(end, generation)
        fences = [fence] if retries.fence is None or retries.fence.offset > end else [retries.fence, fence]
        self._loading = Loading(end, fences, self.offsets.log)
        retries.fence = fence

    @property
    def loaded(self) -> bool:
        """Whether the retry log was read up to the end that was known at assignment, or there is none."""
        return self._loading is None or self._retries.position >= self._loading.end

    def load(self, entries: Sequence[tuple[Entry[R], Written]], read_to: int | None = None) -> None:
        """Take in records of the retry log as entries with their offset, in its order and without leaving any out.

        entries  each with what its record says of its writing
        read_to  the next offset to read, where the log goes on behind the last of them with what are no records

        A position below 0 is of no queue's log: an entry that lacks one gets one of its own there. Does nothing on a
        lost partition.
        """
        if self.lost:
            return
        loading = self._loading
        if loading is None:
            raise RuntimeError(f"{self}: the retry log is read on assignment only")
        retries = self._retries
        for entry, written in entries:
            if retries.read(entry.offset):
                superseded = loading.add(entry.record.key, entry, written)
                if superseded is not None:
                    retries.finish(superseded)
        if read_to is not None:
            retries.skip_to(read_to)

    @property
    def queue_seen(self) -> int:
        """Behind the last offset that the queue's log must have had, as what was loaded shows; 0 after `start`."""
        return 0 if self._loading is None else self._loading.seen

    def start(self, queue_end: int, *, anew: bool = False) -> None:
        """Form the lines of what was loaded; from now on the queue may be read.

        queue_end  where the queue's log ends. Ask the broker for it once all is loaded: what lies beyond it is then
                   surely of a log that is gone
        anew       whether that log is known to be another one than was read before

        What is of a log that is gone runs before the rest: see `Loading.settle`, and `take_diverted` for what of it is
        to be written again. Does nothing on a lost partition.
        """
        if self.lost:
            return
        loading = self._loading
        if loading is None or not self.loaded:
            raise RuntimeError(f"{self}: the retry log must be read to its end first")
        self._loading = None
        entries, moved = loading.settle(queue_end, anew=anew)
        for entry in moved:
            entry.writing = True
        self._diverted += moved
        self.writing += len(moved)
        for entry in entries:
            line = self._parking.find(entry.record.key, entry.position)
            if line is None:
                self._parking.park(entry.record.key, entry)
            else:
                self._parking.insert(line, entry)
            self.parked_bytes += size_of(entry.record)
        for line in self._lines.values():
            self._parking.wait(line, self.offsets.position)

    # -- jobs that may kill their worker ------------------------------------------------------------------------------

    def doubt(self, queue_end: int, retry_end: int, unsure: int) -> None:
        """Be cautious, if the last owner has not let go in order.

        queue_end, retry_end  where the logs end
        unsure                how many offsets, beyond what is known, the last owner may have read
        """
        for offsets, end in zip(self._trackers, (queue_end, retry_end), strict=False):
            offsets.custody.doubt(min(end, offsets.end + unsure))
        self.relax()

    @property
    def custodies(self) -> list[Custody]:
        """What is known of its jobs."""
        return [offsets.custody for offsets in self._trackers]

    def go_on(self, before: Sequence[Custody]) -> None:
        """Know of its jobs what was known before: the last owner was this worker, and did not die."""
        for custody, known in zip(self.custodies, before, strict=True):
            custody.go_on(known)
        self.relax()

    def hold(self) -> None:
        """Note in the next commit that this worker holds it."""
        for offsets in self._trackers:
            if not offsets.custody.held:
                offsets.custody.hold()
                offsets.touch()

    def let_go(self) -> None:
        """Note in the next commits, until `hold`, that it is left in order."""
        for offsets in self._trackers:
            offsets.custody.let_go(offsets.watermark)
            offsets.touch()

    def refresh(self) -> None:
        """Have a commit due although nothing has changed."""
        for offsets in self._trackers:
            offsets.touch()

    def log_of(self, lane: Lane[R, Partition[R]]) -> tuple[OffsetTracker, int]:
        """The log that holds the head of a lane until it is finished, and its offset there."""
        entry = lane.entry
        return (self.offsets, lane.head.offset) if entry is None else (self._retries, entry.offset)

    def relax(self) -> None:
        """Be cautious no longer, if there is nothing left to be unsure of."""
        self.cautious = not all(offsets.custody.sure(offsets.watermark) for offsets in self._trackers)

    @property
    def _trackers(self) -> list[OffsetTracker]:
        return [self.offsets] if self.retries is None else [self.offsets, self.retries]

    # -- what fits in -------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether no more of the queue should be read for now."""
        offsets = self.offsets
        return offsets.load >= self.limit_jobs or self._bytes >= self.limit_bytes or offsets.spent or self._crowded

    @property
    def roomy(self) -> bool:
        """Whether a full partition has drained far enough to read again."""
        offsets = self.offsets
        return (
            offsets.load <= self.limit_jobs * 3 // 4
            and self._bytes <= self.limit_bytes * 3 // 4
            and (not offsets.spent or offsets.load == 0)
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
        if retries is None or self._parking.unread:
            return False
        return self.room.crowded(self) or self._scattered(retries)

    def _scattered(self, retries: OffsetTracker) -> bool:
        """Whether the retry log's map might not fit any more, if all that is held were parked and finished in the worst
        order.

        The jobs of a line finish in their order, so those of the longest one are a run of the map and no more, whatever
        lies between them: a hundred thousand of one key are no burden.
        """
        room = retries.room - self.offsets.load
        return room <= 0 and room + self._parking.longest <= 0

    # -- the queue ----------------------------------------------------------------------------------------------------

    def admit(self, records: Sequence[R]) -> list[Lane[R, Partition[R]]]:
        """Queue records (at least one) in the order of their offsets, skipping finished ones; lanes this made ready.

        Those of parked keys are diverted: see `take_diverted`. Heads of lines may have become due: see `ready`.
        """
        if self.lost:
            return []
        if self._loading is not None:
            raise RuntimeError(f"{self}: the queue is read when its retry log was")
        ready = []
        lanes = self._lanes
        fresh = records if self.offsets.read_all([record.offset for record in records]) else self._unfinished(records)
        if self._lines:
            fresh = self._divert(fresh)
        size = 0
        for record in fresh:
            key = record.key
            size += len(record.value or b"") + len(key or b"") + HEADER_SIZE * len(record.headers)
            lane = lanes.add(key, record)
            if lane is not None:
                ready.append(lane)
        self._bytes += size + self._large.add(fresh)
        return ready

    def _unfinished(self, records: Sequence[R]) -> list[R]:
        read = self.offsets.read
        return [record for record in records if read(record.offset)]

    def _divert(self, records: Sequence[R]) -> list[R]:
        """Divert the records of parked keys; the others."""
        find = self._parking.find
        others = []
        for record in records:
            line = find(record.key, record.offset)
            if line is None:
                others.append(record)
            elif line.holds(record.offset):
                self.offsets.finish(record.offset)
            else:
                entry = Entry(record, record.offset, writing=True)
                self._parking.insert(line, entry)
                self._diverted.append(entry)
                self._bytes += size_of(record)
                self.writing += 1
        self._parking.read_on(self.offsets.position)
        return others

    def pass_over(self, start: int, to: int) -> bool:
        """Read on at `to`, since the queue's log holds no job from `start` on; False, and nothing is noted, where
        `start` is not where it is read on, or the partition is lost."""
        if self.lost or not self.offsets.pass_over(start, to):
            return False
        self._parking.read_on(to)
        return True

    def take_diverted(self) -> list[Entry[R]]:
        """What `admit` has diverted and `start` has moved since this was last asked: to be written to the retry log, in
        this order."""
        diverted, self._diverted = self._diverted, []
        return [] if self.lost else diverted

    def finish(self, lane: Lane[R, Partition[R]]) -> bool:
        """Finish the head of a lane, whose outcome is durable; True if the lane is ready again.

        A line that is not may have a head that waits for its time, see `next_due`. Does nothing on a lost partition:
        its offsets belong to another worker.
        """
        if self.lost:
            return False
        if self._lines and isinstance(lane, Line):
            return self._finish_parked(lane)
        record = lane.head
        self.offsets.finish(record.offset)
        # As small_size, without a call: this is done for every job.
        self._bytes -= len(record.value or b"") + len(record.key or b"") + HEADER_SIZE * len(record.headers)
        if self._large.held:
            self._bytes -= self._large.held.pop(record.offset, 0)
        return self._lanes.finish(lane)

    def _finish_parked(self, line: Line[R, Partition[R]]) -> bool:
        self._retries.finish(line.entry.offset)
        self.parked_bytes -= size_of(line.head)
        if not self._parking.leave(line):
            return False
        entry = line.entry
        if entry.untried and not entry.writing and entry.position < self.offsets.position:
            return True
        self._parking.wait(line, self.offsets.position)
        return False

    # -- retries ------------------------------------------------------------------------------------------------------

    def postpone(self, lane: Lane[R, Partition[R]], attempt: int, due_ms: int) -> list[Entry[R]]:
        """Park the head of a lane until it is due, and its key with it; what to write to the retry log, in this order.

        attempt  attempts made so far, this run included if it counts
        due_ms   epoch milliseconds

        The caller is done with the lane. Does nothing on a lost partition.
        """
        if self.lost:
            return []
        if self.retries is None:
            raise RuntimeError(f"{self}: no retry partition was opened")
        entry = lane.entry
        if entry is None:
            writes = self._park(lane)
            entry = writes[0]
        else:
            writes = [entry]
        entry.attempt = attempt
        # 0 says that a job was never tried.
        entry.due_ms = max(1, due_ms)
        entry.writing = True
        self.writing += len(writes)
        return writes

    def _park(self, lane: Lane[R, Partition[R]]) -> list[Entry[R]]:
        """Make a line of a lane. Its records count exactly from now on."""
        entries = [Entry(record, record.offset, writing=True) for record in (lane.head, *(lane.rest or ()))]
        line = self._parking.park(lane.head.key, entries[0])
        for entry in entries[1:]:
            self._parking.insert(line, entry)
        for entry in entries:
            counted = small_size(entry.record) + self._large.held.pop(entry.position, 0)
            self._bytes += size_of(entry.record) - counted
        self._lanes.remove(lane)
        return entries

    def wrote(self, entry: Entry[R], offset: int) -> None:
        """Note that the broker holds an entry's record, and where: only now its old record is finished.

        Its line may have become due by that: see `ready`. Does nothing on a lost partition. Raises LogReplaced, and
        notes nothing, where the offset shows that the retry log is another one by now.
        """
        if self.lost:
            return
        retries = self._retries
        retries.wrote(offset)
        former, entry.offset = entry.offset, offset
        entry.writing = False
        self.writing -= 1
        if former == NOT_WRITTEN:
            self.offsets.finish(entry.position)
            size = size_of(entry.record)
            self._bytes -= size
            self.parked_bytes += size
        else:
            retries.finish(former)
        line = self._parking.find(entry.record.key, entry.position)
        if line is not None and line.entry is entry:
            self._parking.wait(line, self.offsets.position)

    def ready(self, now_ms: int) -> list[Line[R, Partition[R]]]:
        """Hand out the lines whose heads may run by now.

        Ask when `next_due` has come; that may change whenever records are admitted or written, or a line's head
        finishes.
        """
        if self.lost or self._loading is not None:
            return []
        self._parking.read_on(self.offsets.position)
        return self._parking.ready(now_ms)

    @property
    def next_due(self) -> int | None:
        """Epoch milliseconds (0: at once) when a line will be ready; None if none waits for its time."""
        return None if self.lost else self._parking.next_due

    @property
    def _retries(self) -> OffsetTracker:
        if self.retries is None:
            raise RuntimeError(f"{self}: no retry partition was opened")
        return self.retries

    def __repr__(self) -> str:
        return f"{self.topic}-{self.number}"

    def lose(self) -> None:
        """Fence the partition off: nothing of it starts or finishes any more."""
        self.lost = True
