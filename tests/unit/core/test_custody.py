"""Who may have killed a worker: what commits say of it. That it is enough to know is in test_custody_simulation.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.offsets.crash_record import CRASH_RECORD_LIMIT, MARK, MAX_NAMED, CrashRecord, StartMode
from streams.core.offsets.log_id import UNKNOWN, sign
from streams.core.offsets.tracker import OffsetTracker


def opened(tracker: OffsetTracker) -> OffsetTracker:
    """As the next owner finds it, which is unsure of all that the log holds."""
    commit = tracker.commit()
    again = OffsetTracker(commit.watermark, commit.metadata)
    again.custody.doubt(tracker.position)
    return again


def tracker(jobs: int) -> OffsetTracker:
    offsets = OffsetTracker(0)
    offsets.read_all(list(range(jobs)))
    offsets.custody.hold()
    return offsets


def test_what_was_let_go_in_order_is_free_of_suspicion() -> None:
    before = tracker(3)
    before.custody.let_go(3)
    assert before.commit().metadata == sign("", UNKNOWN)
    after = opened(before)
    assert [after.custody.way(offset) for offset in range(3)] == [StartMode.FREELY] * 3
    assert after.custody.sure(0)


def test_after_a_death_all_that_may_have_run_is_unsure_and_nothing_beyond() -> None:
    after = opened(tracker(3))
    assert [after.custody.way(offset) for offset in range(4)] == [StartMode.IN_COMPANY] * 3 + [StartMode.FREELY]
    assert not after.custody.sure(0)
    assert after.custody.sure(3)
    assert after.custody.way(0) is StartMode.FREELY, "once sure, sure"


def test_a_death_is_remembered_of_a_job_that_was_not_read_yet() -> None:
    """The first commit of an owner comes before it reads, and it may die before the second."""
    offsets = died(opened(tracker(2)), alone=False)
    offsets.custody.hold()
    assert opened(offsets).custody.deaths(1) == 1
    offsets.read_all([0, 1])
    offsets.finish(1)
    assert opened(offsets).custody.deaths(1) == 0, "and of one that is finished no longer"


def test_only_jobs_named_as_running_answer_for_a_death() -> None:
    first = opened(tracker(4))
    first.read_all(list(range(4)))
    first.custody.hold()
    first.custody.start(1)
    first.custody.start(2)
    first.custody.end(2)
    second = opened(first)
    ways = [second.custody.way(offset) for offset in range(4)]
    assert ways == [StartMode.IN_COMPANY, StartMode.ALONE, StartMode.IN_COMPANY, StartMode.IN_COMPANY]


def died(offsets: OffsetTracker, *, alone: bool) -> OffsetTracker:
    """As the next owner finds it when this one has died with job 1 running."""
    offsets.read_all([0, 1])
    offsets.custody.hold()
    offsets.custody.start(1, alone=alone)
    return opened(offsets)


def test_a_death_in_company_and_one_alone_are_enough() -> None:
    offsets = opened(tracker(2))
    for expected in (StartMode.IN_COMPANY, StartMode.ALONE, StartMode.NEVER):
        assert offsets.custody.way(1) is expected
        offsets = died(offsets, alone=expected is StartMode.ALONE)


def test_no_number_of_deaths_beside_others_is_enough() -> None:
    offsets = opened(tracker(2))
    for deaths in (*range(9), 8):
        assert offsets.custody.deaths(1) == deaths
        offsets = died(offsets, alone=False)
    assert offsets.custody.way(1) is StartMode.ALONE


def test_a_job_that_others_run_beside_is_not_alone_any_more() -> None:
    offsets = died(opened(tracker(2)), alone=False)
    offsets.read_all([0, 1])
    offsets.custody.hold()
    offsets.custody.start(1, alone=True)
    offsets.custody.start(1)
    assert opened(offsets).custody.way(1) is StartMode.ALONE


@pytest.mark.parametrize("alone", [True, False])
def test_what_runs_while_its_owner_lets_go_has_no_death(alone: bool) -> None:
    offsets = died(opened(tracker(2)), alone=False)
    offsets.read_all([0, 1])
    offsets.custody.hold()
    offsets.custody.start(0)
    offsets.custody.start(1, alone=alone)
    offsets.custody.let_go(offsets.watermark)
    after = opened(offsets).custody
    assert (after.deaths(0), after.deaths(1)) == (0, 1)
    assert after.way(0) is StartMode.IN_COMPANY, "it was not finished, and is as unsure as before"


def test_who_takes_it_back_answers_for_what_runs() -> None:
    offsets = opened(tracker(2))
    offsets.read_all([0, 1])
    offsets.custody.hold()
    offsets.custody.start(1)
    offsets.custody.let_go(offsets.watermark)
    offsets.custody.hold()
    assert opened(offsets).custody.deaths(1) == 1


def test_what_is_left_in_order_and_sure_is_free_but_for_who_has_a_death() -> None:
    offsets = died(opened(tracker(3)), alone=False)
    offsets.read_all([0, 1, 2])
    offsets.custody.unsure_end = 0
    offsets.custody.let_go(offsets.watermark)
    after = opened(offsets).custody
    assert [after.way(offset) for offset in range(3)] == [StartMode.FREELY, StartMode.ALONE, StartMode.FREELY]


def test_a_run_that_was_cut_short_clears_nobody() -> None:
    offsets = died(opened(tracker(2)), alone=False)
    offsets.custody.start(1, alone=True)
    offsets.custody.leave(1)
    assert offsets.custody.way(1) is StartMode.ALONE


def test_a_stop_in_order_is_no_death() -> None:
    offsets = opened(tracker(2))
    offsets.read_all([0, 1])
    offsets.custody.hold()
    offsets.custody.let_go(2)
    assert opened(offsets).custody.way(1) is StartMode.FREELY


def test_a_job_that_ends_is_cleared() -> None:
    offsets = opened(tracker(2))
    offsets.read_all([0, 1])
    offsets.custody.hold()
    offsets.custody.start(1)
    offsets = opened(offsets)
    offsets.custody.start(1)
    offsets.custody.end(1)
    assert offsets.custody.way(1) is StartMode.IN_COMPANY


def test_one_may_always_start() -> None:
    offsets = tracker(MAX_NAMED * 2)
    for offset in range(MAX_NAMED * 2):
        if not offsets.custody.crowded:
            offsets.custody.start(offset)
    assert offsets.custody.crowded
    after = opened(offsets)
    assert not after.custody.crowded, "those that wait to run alone may wait behind others"


@pytest.mark.parametrize(
    "text", ["", "1AwI=", "nonsense", f"{MARK}", f"{MARK}2", f"{MARK}1,x", f"{MARK}1,1!", "~1,1!1,", "~1,1?1"]
)
def test_what_cannot_be_read_says_nothing(text: str) -> None:
    custody = CrashRecord(text)
    custody.doubt(10)
    assert custody.way(0) is StartMode.FREELY


@given(st.sets(st.integers(0, 10**15), max_size=MAX_NAMED), st.integers(0, 100))
def test_what_is_written_is_read(running: set[int], watermark: int) -> None:
    class Nothing:
        def is_finished(self, offset: int) -> bool:
            return False

    custody = CrashRecord()
    custody.hold()
    offsets = {watermark + offset for offset in running}
    for offset in offsets:
        custody.start(offset)
    text = custody.text(watermark, Nothing())
    assert len(text) <= CRASH_RECORD_LIMIT
    again = CrashRecord(text, from_offset=watermark)
    named = {offset for offset in offsets if again.way(offset) is StartMode.ALONE}
    assert named == set(sorted(offsets)[: len(named)]), "what does not fit is left out at the end"
    if max(running, default=0) < 10**9:
        assert named == offsets
