"""What an owner writes to the retry log after the next one has taken over counts for nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.offsets.crash_record import MARK
from streams.core.offsets.fence import FENCE_LIMIT, Fence
from streams.core.offsets.log_id import UNKNOWN, sign
from streams.core.offsets.tracker import Commit, OffsetTracker
from streams.core.partition.parked_job import ParkedJob
from streams.core.partition.restore import Written
from tests.unit.core.records import Job, Jobs


def opened(generation: int, held: tuple[Commit, Commit] | None, log: list[tuple[ParkedJob[Job], int | None]]) -> Jobs:
    """A partition as the owner of a generation opens it, from what the group holds and the retry log."""
    queue, retries = held or (Commit(0, "", 0), Commit(0, "", 0))
    part = Jobs(OffsetTracker(queue.watermark, queue.metadata), limit_jobs=10, limit_bytes=1000)
    part.open_retries(OffsetTracker(retries.watermark, retries.metadata), len(log), generation)
    part.load([(entry, Written(owner)) for entry, owner in log[retries.watermark :]])
    part.start(100)
    return part


def commits(part: Jobs) -> tuple[Commit, Commit]:
    assert part.retries
    return part.offsets.commit(), part.retries.commit()


def a_late_write() -> Jobs:
    """The first owner has a failed job on its way; the second one takes over, commits and does it; then it lands."""
    first = opened(1, None, [])
    (lane,) = first.admit([Job(0, b"a")])
    (late,) = first.postpone(lane, 1, 5)
    second = opened(2, None, [])
    (lane,) = second.admit([Job(0, b"a")])
    second.finish(lane)
    landed = ParkedJob(late.record, 0, attempt=1, due_ms=5, retry_offset=0)
    third = opened(3, commits(second), [(landed, first.generation)])
    third.admit([Job(1, b"b")])
    return third


def test_a_record_that_lands_when_its_writer_has_lost_the_partition_counts_for_nobody() -> None:
    third = a_late_write()
    assert third.next_due is None
    assert third.parked == 0
    assert third.retries
    assert third.retries.watermark == 1, "and it is finished"


def test_without_the_fence_its_job_would_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fence, "passes", lambda *_: True)
    assert a_late_write().parked == 1


def test_what_landed_before_the_next_owner_took_over_counts() -> None:
    first = opened(1, None, [])
    (lane,) = first.admit([Job(0, b"a")])
    (entry,) = first.postpone(lane, 1, 5)
    first.wrote(entry, 0)
    landed = ParkedJob(entry.record, 0, attempt=1, due_ms=5, retry_offset=0)
    second = opened(2, commits(first), [(landed, first.generation)])
    assert second.parked == 1
    third = opened(3, commits(second), [(landed, first.generation)])
    assert third.parked == 1, "it stays what it is, whoever comes next"


def test_a_record_that_does_not_say_who_wrote_it_counts() -> None:
    assert Fence(5, 7).passes(9, None)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1))
def test_what_is_written_is_read(offset: int, generation: int) -> None:
    fence = Fence(offset, generation)
    assert len(fence.text) <= FENCE_LIMIT
    assert Fence.read(fence.text) == fence
    tracker = OffsetTracker(0)
    tracker.raise_fence(fence)
    tracker.crash_record.claim()
    commit = tracker.commit()
    assert commit.metadata.endswith(sign(f"{fence.text}{MARK}1", UNKNOWN))
    assert OffsetTracker(commit.watermark, commit.metadata).fence == fence


@pytest.mark.parametrize("text", ["", "^", "^1", "^1,", "^-1,2", "^x,1", "1,2"])
def test_what_cannot_be_read_is_no_fence(text: str) -> None:
    assert Fence.read(text) is None
