"""A tracker's rarer turns, one by one; test_machine.py has the rest."""

from __future__ import annotations

import pytest

from streams.core.offsets.commit_metadata import CommitMetadata
from streams.core.offsets.tracker import Commit, LogReplaced, OffsetTracker


def restored(*finished: int, start: int, end: int) -> OffsetTracker:
    """A tracker that goes on from a commit in which these offsets had finished."""
    before = OffsetTracker(start)
    for offset in range(start, end):
        before.read(offset)
    for offset in finished:
        before.finish(offset)
    commit = before.commit()
    return OffsetTracker(commit.watermark, commit.metadata)


def test_a_commit_that_is_finished_twice_over_says_so_once() -> None:
    tracker = restored(start=0, end=2)
    assert tracker.commit() == Commit(0, CommitMetadata().text(0), 0, CommitMetadata().text(0))
    assert not tracker.dirty


def test_what_an_earlier_worker_finished_is_part_of_the_watermark_before_it_is_read() -> None:
    tracker = restored(11, 12, 13, start=10, end=14)
    assert tracker.read(10)
    tracker.finish(10)
    assert tracker.commit().watermark == 14
    assert tracker.next_offset == 11


def test_finishing_an_earlier_offset_forgets_no_later_one() -> None:
    tracker = restored(3, 1, start=0, end=5)
    assert [offset for offset in range(5) if tracker.read(offset)] == [0, 2, 4]


def test_an_answer_that_comes_late_takes_nothing_back() -> None:
    tracker = OffsetTracker(0)
    for offset in (0, 1):
        tracker.read(offset)
    tracker.finish(0)
    first = tracker.commit()
    tracker.finish(1)
    second = tracker.commit()
    tracker.acknowledge(second)
    tracker.acknowledge(first)
    assert not tracker.dirty


def test_what_finishes_after_a_commit_was_taken_is_not_covered_by_it() -> None:
    tracker = OffsetTracker(0)
    tracker.read_all([0, 1])
    tracker.finish(0)
    commit = tracker.commit()
    tracker.finish(1)
    tracker.acknowledge(commit)
    assert tracker.dirty


def test_a_batch_is_read_as_a_whole_or_not_at_all() -> None:
    tracker = OffsetTracker(10)
    room = tracker.map_headroom
    assert not tracker.read_all([10, 12])
    assert not tracker.read_all([11, 12])
    assert not tracker.read_all([9, 10])
    assert (tracker.next_offset, tracker.pending, tracker.map_headroom) == (10, 0, room)
    assert tracker.read_all([10, 11, 12])
    assert (tracker.next_offset, tracker.pending, tracker.map_headroom) == (13, 3, room - 3)
    restored_tracker = restored(11, start=10, end=12)
    assert not restored_tracker.read_all([10, 11])


def test_gaps_cost_room_and_those_that_a_map_knows_do_not() -> None:
    tracker = OffsetTracker(0)
    room = tracker.map_headroom
    tracker.read(1_000_000)
    assert room - 100 < tracker.map_headroom < room - 2
    known = restored(500, start=0, end=501)
    room = known.map_headroom
    known.read(400)
    assert known.map_headroom == room


def test_what_the_log_no_longer_holds_is_finished() -> None:
    tracker = restored(15, start=10, end=16)
    assert tracker.load == 0
    tracker.read(13)
    assert (tracker.watermark, tracker.pending, tracker.load) == (13, 2, 1)
    assert tracker.dirty
    tracker.skip_to(15)
    assert (tracker.watermark, tracker.pending, tracker.load) == (13, 1, 1)


def test_skipping_beyond_what_is_known() -> None:
    tracker = restored(12, start=10, end=13)
    tracker.skip_to(100)
    assert (tracker.next_offset, tracker.watermark, tracker.pending) == (100, 100, 0)
    assert tracker.dirty
    tracker.skip_to(50)
    assert tracker.next_offset == 100
    assert tracker.read(100)
    assert tracker.watermark == 100


# -- a log of our own -------------------------------------------------------------------------------------------------


def test_what_others_wrote_in_between_is_finished() -> None:
    tracker = OffsetTracker(10)
    tracker.wrote(10)
    tracker.wrote(14)
    tracker.finish(10)
    assert (tracker.watermark, tracker.pending, tracker.next_offset) == (14, 1, 15)


def test_an_answer_that_comes_late_is_pending_all_the_same() -> None:
    tracker = OffsetTracker(0)
    tracker.wrote(2)
    tracker.finish(2)
    tracker.acknowledge(tracker.commit())
    tracker.wrote(1)
    assert tracker.dirty
    commit = tracker.commit()
    assert commit.watermark == 1
    restored_tracker = OffsetTracker(commit.watermark, commit.metadata)
    assert [offset for offset in range(3) if restored_tracker.read(offset)] == [1]
    tracker.wrote(0)
    assert [*tracker._pending] == [0, 1]
    tracker.finish(0)
    tracker.finish(1)
    assert tracker.watermark == 3


def test_a_map_says_more_than_the_log_holds_and_what_is_written_is_pending() -> None:
    """The retry topic lost its end: its offsets are given out a second time."""
    tracker = restored(5, start=0, end=6)
    for offset in range(3):
        tracker.read(offset)
    tracker.wrote(5)
    assert tracker.next_offset == 6
    assert 5 in tracker._pending
    tracker.finish(5)


def written(*offsets: int) -> OffsetTracker:
    """A log in which an owner of its own has written."""
    tracker = OffsetTracker(0)
    for offset in offsets:
        tracker.wrote(offset)
    return tracker


def test_an_offset_that_is_told_twice_is_of_another_log() -> None:
    tracker = written(0, 1, 2)
    tracker.finish(1)
    for offset in (0, 1, 2):
        with pytest.raises(LogReplaced):
            tracker.wrote(offset)
    assert (tracker.pending, tracker.watermark) == (2, 0), "nothing has changed"


def test_an_offset_below_the_start_of_an_owner_is_of_another_log() -> None:
    tracker = OffsetTracker(10)
    with pytest.raises(LogReplaced):
        tracker.wrote(4)


def test_answers_that_come_late_are_each_taken_once() -> None:
    tracker = written(5)
    for late in (3, 0, 4, 1, 2):
        tracker.wrote(late)
        with pytest.raises(LogReplaced):
            tracker.wrote(late)
    assert (tracker.pending, tracker.watermark) == (6, 0)


def test_what_holds_no_job_is_passed_over_and_committed() -> None:
    """Only where the log is read on: what was fetched before a rebalance says nothing of what is fetched after it."""
    tracker = OffsetTracker(0)
    tracker.read(0)
    tracker.finish(0)
    tracker.acknowledge(tracker.commit())
    assert not tracker.pass_over(0, 5)
    assert not tracker.pass_over(2, 5)
    assert tracker.acknowledged == tracker.commit().finished
    assert tracker.pass_over(1, 3)
    assert tracker.dirty, "it is committed"
    assert tracker.commit().watermark == 3
