"""The world around a queue partition and its retry partition: two logs, a group's commit, a clock; as plain values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from streams.core.offsets.tracker import Commit, OffsetTracker
from streams.core.partition.capacity import LARGE_HEADER
from streams.core.partition.parked_job import ParkedJob
from tests.unit.core.records import Job

#: Some jobs have them.
LARGE = (("a", bytes(2 * LARGE_HEADER)), ("b", None))


@dataclass(frozen=True)
class Copy(Job):
    """A record of the retry log."""

    position: int = 0
    attempt: int = 0
    due_ms: int = 0
    #: Generation of the owner that wrote it.
    owner: int = 0


@dataclass
class Write:
    """A record on its way to the retry log, and the generation of its writer."""

    owner: int
    entry: ParkedJob[Job]
    key: bytes | None
    position: int
    attempt: int
    due_ms: int

    @classmethod
    def of(cls, owner: int, entry: ParkedJob[Job]) -> Write:
        assert entry.writing, "only what is writing is written"
        return cls(owner, entry, entry.record.key, entry.queue_offset, entry.attempt, entry.due_ms)


@dataclass(frozen=True)
class Truth:
    """What had become of the jobs when a commit was taken."""

    attempts: dict[int, int]
    outcomes: dict[int, int]


@dataclass
class Held:
    """What the group holds, in one atomic commit: both partitions, and what was true then."""

    queue: Commit
    retries: Commit
    truth: Truth


@dataclass
class World:
    """What outlives a worker. It may know what no worker can: what really became of each job."""

    queue: list[Job] = field(default_factory=list)
    queue_end: int = 0
    retry: list[Copy] = field(default_factory=list)
    retry_end: int = 0
    now: int = 1_000
    held: Held = field(default_factory=lambda: Held(Commit(0, "", 0), Commit(0, "", 0), Truth({}, {})))
    #: Attempts that counted, final outcomes, and the time before which none may start again; by position.
    attempts: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[int] = field(default_factory=Counter)
    due: dict[int, int] = field(default_factory=dict)
    #: The owner's.
    generation: int = 0
    #: Writes of crashed owners, which may land whenever they like.
    stray: list[Write] = field(default_factory=list)
    #: Jobs of which a crash explains that they run again.
    excused: set[int] = field(default_factory=set)
    ever_excused: set[int] = field(default_factory=set)

    def publish(self, jobs: list[tuple[bytes | None, int]]) -> None:
        for key, gap in jobs:
            offset = self.queue_end + gap
            self.queue.append(Job(offset, key, headers=LARGE if offset % 3 == 0 else ()))
            self.queue_end += gap + 1

    def append(self, write: Write, gap: int) -> int:
        """Write to the retry log, behind a gap as markers of transactions make them; the offset."""
        offset = self.retry_end + gap
        headers = write.entry.record.headers
        self.retry.append(
            Copy(offset, write.key, b"", headers, write.position, write.attempt, write.due_ms, write.owner)
        )
        self.retry_end = offset + 1
        return offset

    def truth(self) -> Truth:
        return Truth(dict(self.attempts), dict(self.outcomes))

    def excuse(self, running: set[int], writes: list[Write]) -> None:
        """A worker died: what the group's commit does not cover may happen again."""
        truth = self.held.truth
        changed = {
            position
            for position in self.attempts.keys() | self.outcomes.keys()
            if self.attempts[position] != truth.attempts.get(position, 0)
            or self.outcomes[position] != truth.outcomes.get(position, 0)
        }
        self.excused |= changed | running | {write.position for write in writes}
        self.ever_excused |= self.excused
        self.stray += writes

    def handed_over(self, started: set[int], done: set[int]) -> None:
        """A worker left in order: what it ran does not run again.

        But for what an earlier one had done, and died before it could say so, and this one has failed at.
        """
        self.excused -= done | {position for position in started if not self.outcomes[position]}

    def nothing_is_lost(self, queue: Commit, retries: Commit) -> None:
        """A worker that goes on from these commits still has every job that is not done."""
        restored = OffsetTracker(queue.watermark, queue.metadata)
        there = {job.offset for job in self.queue if restored.read(job.offset)}
        restored = OffsetTracker(retries.watermark, retries.metadata)
        assert restored.fence
        waiting = [copy for copy in self.retry if restored.read(copy.offset)]
        there |= {copy.position for copy in waiting if restored.fence.passes(copy.offset, copy.owner)}
        lost = [job.offset for job in self.queue if not self.outcomes[job.offset] and job.offset not in there]
        assert not lost, f"jobs {lost} are in neither log"
