"""Who may have killed a worker: what commits say of it. test_crash_record_simulation.py has that it is enough."""

from __future__ import annotations

import pytest

from streams.core.offsets.commit_metadata import CommitMetadata
from streams.core.offsets.crash_record import MAX_NAMED, StartMode
from streams.core.offsets.tracker import OffsetTracker


def opened(tracker: OffsetTracker) -> OffsetTracker:
    """As the next owner finds it, which suspects all that the log holds."""
    commit = tracker.commit()
    again = OffsetTracker(commit.watermark, commit.metadata)
    again.crash_record.suspect_below(tracker.next_offset)
    return again


def tracker(jobs: int) -> OffsetTracker:
    offsets = OffsetTracker(0)
    offsets.read_all(list(range(jobs)))
    offsets.crash_record.claim()
    return offsets


def test_what_was_let_go_in_order_is_free_of_suspicion() -> None:
    before = tracker(3)
    before.crash_record.release(3)
    assert before.commit().metadata == CommitMetadata().text(0)
    after = opened(before)
    assert [after.crash_record.start_mode(offset) for offset in range(3)] == [StartMode.FREE] * 3
    assert after.crash_record.all_cleared(0)


def test_after_a_death_all_that_may_have_run_is_unsure_and_nothing_beyond() -> None:
    after = opened(tracker(3))
    assert [after.crash_record.start_mode(offset) for offset in range(4)] == [StartMode.LIMITED] * 3 + [StartMode.FREE]
    assert not after.crash_record.all_cleared(0)
    assert after.crash_record.all_cleared(3)
    after.crash_record.reset()
    assert after.crash_record.start_mode(0) is StartMode.FREE, "once cleared, cleared"


def test_a_death_is_remembered_of_a_job_that_was_not_read_yet() -> None:
    """The first commit of an owner comes before it reads, and it may die before the second."""
    offsets = died(opened(tracker(2)), alone=False)
    offsets.crash_record.claim()
    assert opened(offsets).crash_record.deaths(1) == 1
    offsets.read_all([0, 1])
    offsets.finish(1)
    assert opened(offsets).crash_record.deaths(1) == 0, "and of one that is finished no longer"


def test_only_jobs_named_as_running_answer_for_a_death() -> None:
    first = opened(tracker(4))
    first.read_all(list(range(4)))
    first.crash_record.claim()
    first.crash_record.start(1)
    first.crash_record.start(2)
    first.crash_record.end(2)
    second = opened(first)
    ways = [second.crash_record.start_mode(offset) for offset in range(4)]
    assert ways == [StartMode.LIMITED, StartMode.ISOLATED, StartMode.LIMITED, StartMode.LIMITED]


def died(offsets: OffsetTracker, *, alone: bool) -> OffsetTracker:
    """As the next owner finds it when this one has died with job 1 running."""
    offsets.read_all([0, 1])
    offsets.crash_record.claim()
    offsets.crash_record.start(1, alone=alone)
    return opened(offsets)


def test_a_death_in_company_and_one_alone_are_enough() -> None:
    offsets = opened(tracker(2))
    for expected in (StartMode.LIMITED, StartMode.ISOLATED, StartMode.REFUSED):
        assert offsets.crash_record.start_mode(1) is expected
        offsets = died(offsets, alone=expected is StartMode.ISOLATED)


def test_no_number_of_deaths_beside_others_is_enough() -> None:
    offsets = opened(tracker(2))
    for deaths in (*range(9), 8):
        assert offsets.crash_record.deaths(1) == deaths
        offsets = died(offsets, alone=False)
    assert offsets.crash_record.start_mode(1) is StartMode.ISOLATED


def test_a_job_that_others_run_beside_is_not_alone_any_more() -> None:
    offsets = died(opened(tracker(2)), alone=False)
    offsets.read_all([0, 1])
    offsets.crash_record.claim()
    offsets.crash_record.start(1, alone=True)
    offsets.crash_record.start(1)
    assert opened(offsets).crash_record.start_mode(1) is StartMode.ISOLATED


@pytest.mark.parametrize("alone", [True, False])
def test_what_runs_while_its_owner_lets_go_has_no_death(alone: bool) -> None:
    offsets = died(opened(tracker(2)), alone=False)
    offsets.read_all([0, 1])
    offsets.crash_record.claim()
    offsets.crash_record.start(0)
    offsets.crash_record.start(1, alone=alone)
    offsets.crash_record.release(offsets.watermark)
    after = opened(offsets).crash_record
    assert (after.deaths(0), after.deaths(1)) == (0, 1)
    assert after.start_mode(0) is StartMode.LIMITED, "it was not finished, and is as suspect as before"


def test_who_takes_it_back_answers_for_what_runs() -> None:
    offsets = opened(tracker(2))
    offsets.read_all([0, 1])
    offsets.crash_record.claim()
    offsets.crash_record.start(1)
    offsets.crash_record.release(offsets.watermark)
    offsets.crash_record.claim()
    assert opened(offsets).crash_record.deaths(1) == 1


def test_what_is_left_in_order_and_sure_is_free_but_for_who_has_a_death() -> None:
    offsets = died(opened(tracker(3)), alone=False)
    offsets.read_all([0, 1, 2])
    offsets.crash_record.suspects_end = 0
    offsets.crash_record.release(offsets.watermark)
    after = opened(offsets).crash_record
    assert [after.start_mode(offset) for offset in range(3)] == [StartMode.FREE, StartMode.ISOLATED, StartMode.FREE]


def test_a_run_that_was_cut_short_clears_nobody() -> None:
    offsets = died(opened(tracker(2)), alone=False)
    offsets.crash_record.start(1, alone=True)
    offsets.crash_record.leave(1)
    assert offsets.crash_record.start_mode(1) is StartMode.ISOLATED


def test_a_stop_in_order_is_no_death() -> None:
    offsets = opened(tracker(2))
    offsets.read_all([0, 1])
    offsets.crash_record.claim()
    offsets.crash_record.release(2)
    assert opened(offsets).crash_record.start_mode(1) is StartMode.FREE


def test_a_job_that_ends_is_cleared() -> None:
    offsets = opened(tracker(2))
    offsets.read_all([0, 1])
    offsets.crash_record.claim()
    offsets.crash_record.start(1)
    offsets = opened(offsets)
    offsets.crash_record.start(1)
    offsets.crash_record.end(1)
    assert offsets.crash_record.start_mode(1) is StartMode.LIMITED


def test_one_may_always_start() -> None:
    offsets = tracker(MAX_NAMED * 2)
    for offset in range(MAX_NAMED * 2):
        if not offsets.crash_record.at_limit:
            offsets.crash_record.start(offset)
    assert offsets.crash_record.at_limit
    after = opened(offsets)
    assert not after.crash_record.at_limit, "those that wait to run alone may wait behind others"
