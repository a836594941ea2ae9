"""A model of a queue partition and its retry partition together, with workers that fail, crash and hand over."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.core.offsets.tracker import Commit, OffsetTracker
from streams.core.partition.capacity import ParkedBudget
from streams.core.partition.lanes import Lane
from streams.core.partition.parked import ParkedLane
from streams.core.partition.parked_job import ParkedJob
from streams.core.partition.restore import Written
from tests.unit.core.parked_world import Copy, Held, Truth, World, Write
from tests.unit.core.records import Job, Jobs

WorkLane = Lane[Job, Jobs]

keys = st.sampled_from([None, b"a", b"a", b"a", b"b"])
gaps = st.sampled_from([0, 0, 0, 0, 0, 1, 40])
#: Mostly the first of several.
choice = st.sampled_from([0, 0, 0, 0, 1, 2, 5])
waits = st.sampled_from([0, 1, 5, 30])
#: A worker's life is longer than a few steps.
survives = st.sampled_from([True, True, False])


def position_of(lane: WorkLane) -> int:
    return lane.head.offset if lane.entry is None else lane.entry.queue_offset


class ParkingMachine(RuleBasedStateMachine):
    """Publishes, fetches, runs, fails, writes, commits, crashes and hands over, in any order."""

    ordered = True
    #: Of the waits there are, some are short.
    hold_ms = 3
    partition_type: type[Jobs] = Jobs

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.lost: list[tuple[Jobs, list[WorkLane], list[ParkedJob[Job]]]] = []

    @initialize(jobs=st.lists(st.tuples(keys, gaps), min_size=2, max_size=8))
    def first_worker(self, jobs: list[tuple[bytes | None, int]]) -> None:
        self.world.publish(jobs)
        self.take_over()
        self.open()
        self.fetch(4, 0)

    # -- the world ----------------------------------------------------------------------------------------------------

    @rule(jobs=st.lists(st.tuples(keys, gaps), min_size=1, max_size=6))
    def publish(self, jobs: list[tuple[bytes | None, int]]) -> None:
        self.world.publish(jobs)

    @rule(ms=st.sampled_from([1, 5, 40]))
    def time_passes(self, ms: int) -> None:
        self.world.now += ms

    @precondition(lambda self: self.world.stray)
    @rule(at=choice)
    def a_stale_write_lands(self, at: int) -> None:
        """A worker that is gone, or thinks it is not, wrote this before: nobody is told where it landed."""
        stray = self.world.stray
        self.world.append(stray.pop(at % len(stray)), 0)

    # -- assignment ---------------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        held = self.world.held
        self.partition = self.partition_type(
            OffsetTracker(held.queue.watermark, held.queue.metadata),
            limit_jobs=20,
            limit_bytes=50_000,
            budget=(room := ParkedBudget(12)),
            ordered=self.ordered,
            hold_ms=self.hold_ms,
        )
        room.divide_among([self.partition])
        self.retry_end = self.world.retry_end
        self.world.generation += 1
        retries = OffsetTracker(held.retries.watermark, held.retries.metadata)
        self.partition.open_retries(retries, self.retry_end, self.world.generation)
        self.open_ = False
        self.closed = False
        self.position = held.queue.watermark
        self.ready: list[WorkLane] = []
        self.running: list[WorkLane] = []
        self.outbox: list[Write] = []
        self.acks: list[tuple[Write, int]] = []
        self.started: set[int] = set()
        self.done: set[int] = set()
        #: What this worker knows to be in the retry log and not finished: attempts made, and until when it waits there.
        self.parked: dict[int, tuple[int, int]] = {}
        #: Whether a rebalance has begun.
        self.leaving = False
        #: What of it is not in the retry log, since it comes back soon: a crash forgets it.
        self.held: set[int] = set()
        self.keys: dict[int, bytes | None] = {}
        self.in_flight: tuple[Commit, Commit, Truth] | None = None

    @precondition(lambda self: not self.open_)
    @rule(count=st.integers(1, 8))
    def load(self, count: int) -> None:
        """Read the retry log, in batches; stale writes that land meanwhile may be among it."""
        retries = self.partition.retries
        assert retries
        ahead = [copy for copy in self.world.retry if copy.offset >= retries.next_offset]
        batch = ahead[:count]
        whole = len(batch) == len(ahead)
        entries = [(self.entry(copy), Written(copy.owner)) for copy in batch]
        self.partition.load(entries, self.world.retry_end if whole else None)
        if self.partition.loaded:
            self.begin()

    def entry(self, copy: Copy) -> ParkedJob[Job]:
        return ParkedJob(copy, copy.position, attempt=copy.attempt, due_ms=copy.due_ms, retry_offset=copy.offset)

    def begin(self) -> None:
        self.partition.start(self.world.queue_end)
        self.open_ = True
        held, best = self.world.held.retries, dict[int, Copy]()
        restored = OffsetTracker(held.watermark, held.metadata)
        retries = self.partition.retries
        assert retries
        for copy in self.world.retry:
            if copy.offset >= retries.next_offset or not restored.read(copy.offset):
                continue
            if all(fence is None or fence.passes(copy.offset, copy.owner) for fence in (restored.fence, retries.fence)):
                other = best.get(copy.position, copy)
                best[copy.position] = max(copy, other, key=lambda each: (each.attempt, each.offset))
        for copy in best.values():
            self.parked[copy.position] = copy.attempt, copy.due_ms
            self.keys[copy.position] = copy.key
            self.world.due[copy.position] = copy.due_ms

    def open(self) -> None:
        while not self.open_:
            self.load(100)

    # -- the flow -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.open_ and not self.is_closed())
    @rule(count=st.integers(1, 8), again=st.integers(0, 3))
    def fetch(self, count: int, again: int) -> None:
        ahead = [job for job in self.world.queue if job.offset >= self.position][:count]
        if not ahead:
            return
        behind = [job for job in self.world.queue if job.offset < self.position]
        lanes = self.partition.admit((behind[-again:] if again else []) + ahead)
        self.position = ahead[-1].offset + 1
        self.keys.update((job.offset, job.key) for job in ahead)
        self.become_ready(lanes)
        self.send(self.partition.take_diverted())
        self.closed = self.partition.full
        if self.closed:
            handed_out = {position_of(lane) for lane in self.ready + self.running}
            assert self.held <= handed_out, "a full partition holds nothing that waits"

    def is_closed(self) -> bool:
        self.closed = self.closed and not self.partition.may_read_again
        return self.closed

    def become_ready(self, lanes: list[WorkLane]) -> None:
        for lane in lanes:
            assert not any(lane is other for other in self.ready + self.running), "a lane is handed out once"
            self.ready.append(lane)

    def send(self, entries: Sequence[ParkedJob[Job]]) -> None:
        for entry in entries:
            if entry.queue_offset in self.held:
                self.held.discard(entry.queue_offset)
                self.parked.pop(entry.queue_offset, None)
        self.outbox += [Write.of(self.world.generation, entry) for entry in entries]

    @precondition(lambda self: self.open_)
    @rule()
    def look_at_the_clock(self) -> None:
        due = self.partition.next_due
        lanes = self.partition.ready(self.world.now)
        assert bool(lanes) == (due is not None and due <= self.world.now), "next_due says when there is something"
        self.become_ready([*lanes])

    @precondition(lambda self: self.ready)
    @rule(at=choice)
    def start(self, at: int) -> None:
        lane = self.ready.pop(at % len(self.ready))
        position, key, world = position_of(lane), lane.head.key, self.world
        attempt, due = (lane.entry.attempt, lane.entry.due_ms) if lane.entry else (0, 0)
        assert due <= world.now, "never before it is due"
        assert lane.entry is None or not lane.entry.writing, "what is not acknowledged does not run"
        assert (attempt, due) == self.parked.get(position, (0, 0)), "what is known of a job counts"
        assert position not in self.done, "a job that is done here does not run again"
        if position not in world.excused:
            assert not world.outcomes[position], "nothing runs twice without a crash"
            assert attempt == world.attempts[position], "attempts are counted"
            assert world.due.get(position, 0) <= world.now, "never before it is due"
        if key is not None and self.ordered:
            assert all(other.head.key != key for other in self.running), "jobs of one key do not overlap"
            earlier = [job.offset for job in world.queue if job.key == key and job.offset < position]
            assert all(world.outcomes[each] for each in earlier), "jobs of one key run in order, parked ones too"
        world.attempts[position] = attempt
        self.started.add(position)
        self.running.append(lane)

    @precondition(lambda self: self.running)
    @rule(at=choice)
    def finish(self, at: int) -> None:
        lane = self.running.pop(at % len(self.running))
        position = position_of(lane)
        self.world.outcomes[position] += 1
        self.done.add(position)
        self.parked.pop(position, None)
        self.held.discard(position)
        if self.partition.finish(lane):
            self.become_ready([lane])

    @precondition(lambda self: self.running)
    @rule(at=choice, wait=waits, counts=st.sampled_from([True, True, False]))
    def fail(self, at: int, wait: int, counts: bool) -> None:
        """A failure, or a snooze, which does not count."""
        lane = self.running.pop(at % len(self.running))
        position, world = position_of(lane), self.world
        world.attempts[position] += counts
        world.due[position] = world.now + wait
        self.parked.pop(position, None)
        writes = self.partition.postpone(lane, world.attempts[position], world.now + wait, world.now)
        if writes:
            assert writes[0].queue_offset == position, "the head goes first"
            self.send(writes)
        else:
            assert wait <= self.hold_ms, "only what comes back soon is held"
            assert not self.leaving, "what the next owner should know is written"
            assert not self.partition.full, "a full partition is to be read on"
            self.parked[position] = world.attempts[position], world.now + wait
            self.held.add(position)

    @precondition(lambda self: self.ready)
    @rule(wait=waits)
    def run_and_fail(self, wait: int) -> None:
        self.start(-1)
        self.fail(-1, wait, True)

    @precondition(lambda self: self.ready)
    @rule()
    def run(self) -> None:
        self.start(0)
        self.finish(-1)

    # -- the retry log ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.outbox)
    @rule(at=choice, gap=gaps, copies=st.sampled_from([1, 1, 1, 2]))
    def land(self, at: int, gap: int, copies: int) -> None:
        """The broker writes a record, perhaps twice, since the first answer was lost."""
        write = self.outbox.pop(at % len(self.outbox))
        for _ in range(copies):
            offset = self.world.append(write, gap)
        self.acks.append((write, offset))

    @precondition(lambda self: self.acks)
    @rule(at=choice)
    def acknowledge_write(self, at: int) -> None:
        write, offset = self.acks.pop(at % len(self.acks))
        self.partition.wrote(write.entry, offset)
        self.parked[write.position] = write.attempt, write.due_ms

    @precondition(lambda self: self.outbox or self.acks)
    @rule(count=st.sampled_from([1, 2, 100]))
    def write(self, count: int) -> None:
        """Some records make it into the log in order, and the worker is told."""
        while self.outbox and len(self.acks) < count:
            self.land(0, 0, 1)
        for _ in range(min(count, len(self.acks))):
            self.acknowledge_write(0)

    @precondition(lambda self: self.outbox or self.acks)
    @rule(fails=st.booleans())
    def come_back(self, fails: bool) -> None:
        """One record is written, and what that makes due runs, while others are still being written."""
        self.write(1)
        self.look_at_the_clock()
        if self.ready:
            self.run_and_fail(0) if fails else self.run()

    # -- commits ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.open_ and self.in_flight is None)
    @rule()
    def commit(self) -> None:
        retries = self.partition.retries
        assert retries
        queue, parked = self.partition.offsets.commit(), retries.commit()
        self.world.nothing_is_lost(queue, parked)
        self.in_flight = queue, parked, self.world.truth()

    @precondition(lambda self: self.in_flight)
    @rule()
    def commit_acknowledged(self) -> None:
        retries = self.partition.retries
        assert self.in_flight
        assert retries
        queue, parked, truth = self.in_flight
        self.partition.offsets.acknowledge(queue)
        retries.acknowledge(parked)
        self.world.held = Held(queue, parked, truth)
        self.in_flight = None

    @precondition(lambda self: self.in_flight)
    @rule(arrives=st.booleans())
    def commit_refused(self, arrives: bool) -> None:
        """The broker refuses a commit, or its answer is lost."""
        assert self.in_flight
        if arrives:
            self.world.held = Held(*self.in_flight)
        self.in_flight = None

    # -- the end of a worker ------------------------------------------------------------------------------------------

    @rule(survives=survives)
    def crash(self, survives: bool) -> None:
        """The partition goes to another worker, at any moment. What was sent may still land."""
        if survives:
            return
        retries = self.partition.retries
        read_to = retries.next_offset if retries else 0
        # Commits may call a record finished that was passed over by the answer to a later one; nobody knew of it then.
        passed = {write.position for write, offset in self.acks if offset < read_to}
        self.world.excuse({position_of(lane) for lane in self.running} | passed | self.held, self.outbox)
        self.partition.lose()
        if self.open_:
            self.lost = [*self.lost, (self.partition, self.running, [write.entry for write, _ in self.acks])][-3:]
        self.take_over()

    @precondition(lambda self: self.open_)
    @rule(goes_on=st.booleans())
    def prepare_to_leave(self, goes_on: bool) -> None:
        """A rebalance begins; it may leave the partition here."""
        failed = {lane for lane in self.ready if isinstance(lane, ParkedLane) and lane.failed_unwritten}
        self.ready = [lane for lane in self.ready if lane not in failed]
        self.send(self.partition.stop_holding(failed))
        running = {position_of(lane) for lane in self.running}
        assert self.held <= running, "what has failed here is told to the next owner"
        self.leaving = not goes_on
        if goes_on:
            self.partition.hold_again()

    @precondition(lambda self: self.open_)
    @rule(count=st.integers(0, 3), survives=survives)
    def hand_over(self, count: int, survives: bool) -> None:
        """A worker leaves in order: its running jobs end, its writes are acknowledged, and it commits."""
        if survives:
            return
        self.prepare_to_leave(goes_on=False)
        while self.running:
            if count > 0:
                self.fail(0, 2, True)
                count -= 1
            else:
                self.finish(0)
        while self.outbox or self.acks:
            self.write(100)
        assert self.partition.writing == 0
        self.in_flight = None
        self.commit()
        self.commit_acknowledged()
        self.world.handed_over(self.started, self.done)
        self.partition.lose()
        self.take_over()

    @precondition(lambda self: self.lost)
    @rule(late=st.integers(0, 5))
    def a_lost_partition_does_nothing(self, late: int) -> None:
        partition, running, acks = self.lost[late % len(self.lost)]
        assert partition.retries
        before = partition.offsets.commit(), partition.retries.commit()
        assert partition.ready(self.world.now + 1000) == []
        assert partition.next_due is None
        assert partition.admit([Job(partition.offsets.next_offset, b"a")]) == []
        if acks:
            partition.wrote(acks.pop(), self.world.retry_end + 10)
        if running and late % 2:
            assert partition.postpone(running.pop(), 1, self.world.now) == []
        elif running:
            assert not partition.finish(running.pop())
        assert (partition.offsets.commit(), partition.retries.commit()) == before

    # -- always -------------------------------------------------------------------------------------------------------

    @invariant()
    def what_may_run_is_ready(self) -> None:
        """A parked head that is due waits for nothing but to be asked for."""
        if not self.open_:
            return
        handed_out = {position_of(lane) for lane in self.ready + self.running}
        writing = {write.position for write in self.outbox} | {write.position for write, _ in self.acks}
        unwritten = sum(lane.entry.held + len(lane.held_behind()) for lane in self.partition._parked_by_key.values())
        assert self.partition._held == unwritten, "what is held is counted"
        assert self.partition.writing == len(self.outbox) + len(self.acks)
        due = self.partition.next_due
        for position, (_attempt, due_ms) in self.parked.items():
            key = self.keys[position]
            same = [each for each in self.parked.keys() | writing | handed_out if self.keys[each] == key]
            head = not self.ordered or key is None or position == min(same)
            if head and due_ms <= self.world.now and position < self.position and position not in handed_out:
                assert due is not None, f"job {position} waits for nothing"
                assert due <= self.world.now, f"job {position} waits too long"

    def teardown(self) -> None:
        """In the end every job is done, and both commits say so."""
        if not hasattr(self, "partition") or sys.exc_info()[0]:
            return
        self.open()
        while self.drain():
            pass
        assert self.position >= self.world.queue_end, "reading has stopped"
        for job in self.world.queue:
            outcomes = self.world.outcomes[job.offset]
            assert outcomes == 1 or (outcomes and job.offset in self.world.ever_excused), "every job is done, once"
        assert self.partition.offsets.pending == 0
        assert self.partition.retries
        assert self.partition.retries.pending == 0
        assert self.partition.next_due is None
        assert self.partition.may_read_again
        assert (self.partition._bytes, self.partition.parked_bytes) == (0, 0)

    def drain(self) -> bool:
        """Do what can be done; False if there is nothing."""
        before = self.position
        if not self.is_closed():
            self.fetch(5, 0)
        busy = bool(self.outbox or self.acks or self.running or self.ready or self.position > before)
        self.write(100)
        while self.ready:
            self.start(-1)
        while self.running:
            self.finish(0)
        if self.partition.next_due is not None:
            self.world.now = max(self.world.now, self.partition.next_due)
            self.look_at_the_clock()
            busy = True
        if self.in_flight is None and not busy:
            self.commit()
            self.commit_acknowledged()
        return busy
