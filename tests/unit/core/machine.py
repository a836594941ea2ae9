"""A model of one partition of a log, its consumer group and its workers, that holds the core to its promises.

The model keeps plain sets of offsets. It may know what the code cannot: what has really finished, on any worker.
"""

from __future__ import annotations

from typing import Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.core.offsets.commit_metadata import CommitMetadata
from streams.core.offsets.tracker import Commit, OffsetTracker
from streams.core.partition.lanes import Lane, Lanes
from tests.unit.core.records import Job, Jobs

WorkLane = Lane[Job, Jobs]

keys = st.sampled_from([None, b"a", b"b", b"c"])
gaps = st.sampled_from([0, 0, 0, 0, 1, 2, 90])


class Draws(Protocol):
    """What draws: hypothesis, or the machine itself."""

    def draw(self, strategy: st.SearchStrategy[int]) -> int: ...


class _Last:
    """Draws the last of what there is."""

    def draw(self, strategy: st.SearchStrategy[int]) -> int:
        del strategy
        return -1


class PartitionMachine(RuleBasedStateMachine):
    """Publishes, fetches, runs, commits, and moves the partition between workers, in any order."""

    #: What is under test; a faulty one takes its place where a test shows that the machine finds the fault.
    tracker: type[OffsetTracker] = OffsetTracker
    lanes: type[Lanes[Job, Jobs]] = Lanes
    partition_type: type[Jobs] = Jobs

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Job] = []
        self.end = 0
        #: The group's commit, and the offsets that had finished when it was taken.
        self.held = Commit(0, "", 0)
        self.held_finished: frozenset[int] = frozenset()
        self.in_flight: tuple[Commit, frozenset[int]] | None = None
        self.abandoned: list[tuple[Jobs, list[WorkLane]]] = []

    # -- the log ------------------------------------------------------------------------------------------------------

    @initialize(start=st.sampled_from([0, 1, 31, 1000]), jobs=st.lists(st.tuples(keys, gaps), max_size=8))
    def first_worker(self, start: int, jobs: list[tuple[bytes | None, int]]) -> None:
        self.end = start
        self.held = Commit(start, "", 0)
        self.held_finished = frozenset(range(start))
        self.publish(jobs)
        self.take_over()
        self.fetch(len(jobs), 0)

    @rule(jobs=st.lists(st.tuples(keys, gaps), min_size=1, max_size=12))
    def publish(self, jobs: list[tuple[bytes | None, int]]) -> None:
        for key, gap in jobs:
            self.log.append(Job(self.end + gap, key, b"x" * 3))
            self.end += gap + 1

    @rule(count=st.integers(1, 6))
    def expire(self, count: int) -> None:
        """Retention removes the first records; a job that was not read by then never runs."""
        del self.log[:count]

    # -- a worker -----------------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        self.partition = self.partition_type(
            self.tracker(self.held.watermark, self.held.metadata), limit_jobs=30, limit_bytes=1000
        )
        self.partition._lanes = self.lanes(self.partition)
        self.skips = self.held_finished
        #: Of this assignment: read and unfinished, running, started, finished here or skipped.
        self.unfinished: dict[int, Job] = {}
        self.ready: list[WorkLane] = []
        self.running: list[WorkLane] = []
        self.started: set[int] = set()
        self.finished = set(self.skips)
        self.covered = frozenset(self.finished)
        self.position = self.held.watermark
        self.watermark = self.held.watermark
        self.in_flight = None

    @precondition(lambda self: not self.partition.full)
    @rule(count=st.integers(1, 10), again=st.integers(0, 4))
    def fetch(self, count: int, again: int) -> None:
        """A fetch begins at the position, or earlier, where a compressed batch begins."""
        ahead = [job for job in self.log if job.offset >= self.position][:count]
        if ahead:
            behind = [job for job in self.log if job.offset < self.position]
            self.admit(behind[len(behind) - again :] if again else [], ahead)

    def admit(self, behind: list[Job], ahead: list[Job]) -> None:
        lanes = self.partition.admit(behind + ahead)
        assert self.finished.isdisjoint(lane.head.offset for lane in lanes)
        new = [job for job in ahead if job.offset not in self.skips]
        self.unfinished.update((job.offset, job) for job in new)
        passed = set(range(self.position, ahead[-1].offset + 1))
        # Nothing waits for what the log no longer holds.
        self.finished |= passed - self.unfinished.keys()
        self.position = ahead[-1].offset + 1
        for lane in lanes:
            self.becomes_ready(lane)

    def becomes_ready(self, lane: WorkLane) -> None:
        assert not any(lane is other for other in self.ready + self.running), "a lane is handed out once"
        assert lane.owner is self.partition
        self.ready.append(lane)

    @precondition(lambda self: self.ready)
    @rule(data=st.data())
    def start(self, data: Draws) -> None:
        lane = self.ready.pop(data.draw(st.integers(0, len(self.ready) - 1)))
        job = lane.head
        assert job.offset not in self.skips, "what the group's commit calls finished never runs again"
        assert job.offset not in self.started, "an offset runs once in an assignment"
        if job.key is not None:
            assert all(other.head.key != job.key for other in self.running), "jobs of one key do not overlap"
            same = [each.offset for each in self.unfinished.values() if each.key == job.key]
            assert job.offset == min(same), "jobs of one key run in the order of the log"
        self.started.add(job.offset)
        self.running.append(lane)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: Draws) -> None:
        lane = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        job = lane.head
        again = self.partition.finish(lane)
        del self.unfinished[job.offset]
        self.finished.add(job.offset)
        more = job.key is not None and any(each.key == job.key for each in self.unfinished.values())
        assert again == more, "a lane is ready again as long as its key has work"
        if again:
            self.becomes_ready(lane)

    @precondition(lambda self: self.ready)
    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        """Start one and finish it: a job that was read later often overtakes the others."""
        self.start(data)
        self.finish(_Last())

    # -- commits: one at a time ---------------------------------------------------------------------------------------

    @precondition(lambda self: self.in_flight is None)
    @rule()
    def commit(self) -> None:
        commit = self.partition.offsets.commit()
        unfinished = [offset for offset in self.unfinished if offset < commit.watermark]
        assert not unfinished, "a commit never passes an unfinished offset"
        self.says_what_has_finished(commit)
        self.in_flight = commit, frozenset(self.finished)

    def says_what_has_finished(self, commit: Commit) -> None:
        """A worker that goes on from this commit runs exactly what has not finished."""
        restored = self.tracker(commit.watermark, commit.metadata)
        runs = {job.offset for job in self.log if restored.read(job.offset)}
        assert runs == {job.offset for job in self.log} - self.finished

    @precondition(lambda self: self.in_flight)
    @rule()
    def acknowledged(self) -> None:
        commit, finished = self.arrive()
        self.partition.offsets.acknowledge(commit)
        self.covered = finished

    @precondition(lambda self: self.in_flight is None)
    @rule()
    def commit_and_move(self) -> None:
        self.commit()
        self.acknowledged()
        self.move()

    @precondition(lambda self: self.in_flight)
    @rule()
    def refused(self) -> None:
        self.in_flight = None

    @precondition(lambda self: self.in_flight)
    @rule()
    def answer_lost(self) -> None:
        """The broker holds the commit and the worker does not know."""
        self.arrive()

    def arrive(self) -> tuple[Commit, frozenset[int]]:
        assert self.in_flight
        (commit, finished), self.in_flight = self.in_flight, None
        assert commit.watermark >= self.held.watermark, "the group never goes back"
        self.held, self.held_finished = commit, finished
        return commit, finished

    # -- rebalances ---------------------------------------------------------------------------------------------------

    @rule()
    def move(self) -> None:
        """The partition goes to another worker (or comes back to this one after another had it)."""
        self.partition.lose()
        self.abandoned = [*self.abandoned, (self.partition, self.running)][-3:]
        self.take_over()

    @precondition(lambda self: any(running for _, running in self.abandoned))
    @rule(data=st.data())
    def finish_too_late(self, data: st.DataObject) -> None:
        partition, running = data.draw(st.sampled_from([each for each in self.abandoned if each[1]]))
        before = partition.offsets.commit()
        assert not partition.finish(running.pop()), "nothing of a lost partition is ready again"
        assert partition.offsets.commit() == before, "nothing of a lost partition finishes"

    # -- always -------------------------------------------------------------------------------------------------------

    @invariant()
    def promises(self) -> None:
        offsets = self.partition.offsets
        mark = offsets.watermark
        assert mark >= self.watermark, "the watermark never goes back"
        self.watermark = mark
        assert mark <= min(self.unfinished, default=mark), "the watermark never passes an unfinished offset"
        assert offsets.next_offset == self.position
        assert offsets.load == len(self.unfinished), "what is read and unfinished is the load, and nothing else"
        expected = {job.offset for job in self.log if job.offset >= self.position} - self.skips
        assert mark <= min(expected, default=mark), "nor one that was not read"
        uncovered = {offset for offset in self.finished - self.covered if offset not in self.gaps_passed()}
        assert offsets.dirty or not uncovered, "what no acknowledged commit covers is due"
        assert not offsets.dirty or self.finished != self.covered, "nothing is due when all is covered"

    def gaps_passed(self) -> set[int]:
        """Passed over without being known: they neither ran nor wait, so they alone are no reason to commit."""
        return self.finished - self.started - self.skips

    @invariant()
    def every_unfinished_job_is_somewhere(self) -> None:
        heads = {lane.head.offset for lane in self.ready + self.running}
        for key in {job.key for job in self.unfinished.values()}:
            same = [offset for offset, job in self.unfinished.items() if job.key == key]
            wanted = set(same) if key is None else {min(same)}
            assert wanted <= heads, "a lane with work is ready or runs"

    def teardown(self) -> None:
        """In the end everything that is still in the log has finished, and the commit says so."""
        if not hasattr(self, "partition"):
            return
        while ahead := [job for job in self.log if job.offset >= self.position][:50]:
            self.admit([], ahead)
            self.drain()
        self.drain()
        assert {job.offset for job in self.log} <= self.finished
        assert not self.unfinished
        commit = self.partition.offsets.commit()
        assert commit.metadata == CommitMetadata().text(0) or self.partition.offsets.pending
        if self.log:
            assert commit.watermark > self.log[-1].offset
        self.partition.offsets.acknowledge(commit)
        assert not self.partition.offsets.dirty

    def drain(self) -> None:
        while self.ready or self.running:
            if self.ready:
                self.start(_Last())
            else:
                self.finish(_Last())
