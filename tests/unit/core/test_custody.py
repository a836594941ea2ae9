"""Who may have killed a worker: what commits say of it, and that three deaths are enough to know."""

from __future__ import annotations

from collections import Counter
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.custody import COMPANY, CUSTODY_LIMIT, MARK, Custody, Way
from streams.core.offset_map import METADATA_LIMIT
from streams.core.offsets import OffsetTracker


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
    before.custody.open = False
    assert before.commit().metadata == ""
    after = opened(before)
    assert [after.custody.way(offset) for offset in range(3)] == [Way.FREELY] * 3
    assert after.custody.sure(0)


def test_after_a_death_all_that_may_have_run_is_unsure_and_nothing_beyond() -> None:
    after = opened(tracker(3))
    assert [after.custody.way(offset) for offset in range(4)] == [Way.IN_COMPANY] * 3 + [Way.FREELY]
    assert not after.custody.sure(0)
    assert after.custody.sure(3)
    assert after.custody.way(0) is Way.FREELY, "once sure, sure"


def test_only_jobs_named_as_running_answer_for_a_death() -> None:
    first = opened(tracker(4))
    first.read_all(list(range(4)))
    first.custody.hold()
    first.custody.start(1)
    first.custody.start(2)
    first.custody.end(2)
    second = opened(first)
    ways = [second.custody.way(offset) for offset in range(4)]
    assert ways == [Way.IN_COMPANY, Way.ALONE, Way.IN_COMPANY, Way.IN_COMPANY]


def test_a_death_in_company_and_one_alone_are_enough() -> None:
    offsets = opened(tracker(2))
    for expected in (Way.IN_COMPANY, Way.ALONE, Way.NEVER):
        assert offsets.custody.way(1) is expected
        offsets.read_all([0, 1])
        offsets.custody.hold()
        offsets.custody.start(1)
        offsets = opened(offsets)


def test_a_stop_in_order_is_no_death() -> None:
    offsets = opened(tracker(2))
    offsets.read_all([0, 1])
    offsets.custody.start(1)
    offsets.custody.open = False
    assert opened(offsets).custody.way(1) is Way.FREELY


def test_a_job_that_ends_is_cleared() -> None:
    offsets = opened(tracker(2))
    offsets.read_all([0, 1])
    offsets.custody.hold()
    offsets.custody.start(1)
    offsets = opened(offsets)
    offsets.custody.start(1)
    offsets.custody.end(1)
    assert offsets.custody.way(1) is Way.IN_COMPANY


def test_one_may_always_start() -> None:
    offsets = tracker(COMPANY * 2)
    for offset in range(COMPANY * 2):
        if not offsets.custody.crowded:
            offsets.custody.start(offset)
    assert offsets.custody.crowded
    after = opened(offsets)
    assert not after.custody.crowded, "those that wait to run alone may wait behind others"


@pytest.mark.parametrize(
    "text", ["", "1AwI=", "nonsense", f"{MARK}", f"{MARK}2", f"{MARK}1,x", f"{MARK}1,1!", "~1,1!1,"]
)
def test_what_cannot_be_read_says_nothing(text: str) -> None:
    custody = Custody(text)
    custody.doubt(10)
    assert custody.way(0) is Way.FREELY


@given(st.sets(st.integers(0, 10**15), max_size=COMPANY), st.integers(0, 100))
def test_what_is_written_is_read(running: set[int], watermark: int) -> None:
    class All:
        def is_pending(self, offset: int) -> bool:
            return True

    custody = Custody()
    custody.hold()
    offsets = {watermark + offset for offset in running}
    for offset in offsets:
        custody.start(offset)
    text = custody.text(watermark, All())
    assert len(text) <= CUSTODY_LIMIT
    again = Custody(text, from_offset=watermark)
    named = {offset for offset in offsets if again.way(offset) is Way.ALONE}
    assert named == set(sorted(offsets)[: len(named)]), "what does not fit is left out at the end"
    if max(running, default=0) < 10**9:
        assert named == offsets


@given(st.data())
def test_three_deaths_at_the_most_and_no_innocent_pays(data: st.DataObject) -> None:
    """A simulation: culprits kill at once, every owner starts what it may in any order, and dies with what it runs."""
    jobs = data.draw(st.integers(1, 40))
    culprits = data.draw(st.sets(st.integers(0, jobs - 1), max_size=4))
    starts: Counter[int] = Counter()
    buried: set[int] = set()
    committed = (0, "")
    deaths = 0
    while True:
        offsets = OffsetTracker(*committed)
        offsets.custody.doubt(jobs)
        offsets.custody.hold()
        committed = _commit(offsets)
        end, committed = _live(data, offsets, jobs, culprits, starts, buried, committed)
        if end is End.DONE:
            break
        deaths += end is End.DIED
        assert deaths <= 3 * len(culprits), "more deaths than three for each culprit"
    assert buried <= culprits
    assert all(starts[culprit] <= 3 for culprit in culprits)
    assert offsets.pending == 0


class End(Enum):
    """How an owner's life ends."""

    DONE = "done"
    DIED = "died"
    HANDED_OVER = "handed over"


def _live(
    data: st.DataObject,
    offsets: OffsetTracker,
    jobs: int,
    culprits: set[int],
    starts: Counter[int],
    buried: set[int],
    committed: tuple[int, str],
) -> tuple[End, tuple[int, str]]:
    """Run all jobs, or die, or leave in order with what has not been started left: and what the broker holds then."""
    waiting = [offset for offset in range(offsets.position, jobs) if offsets.read(offset)]
    running: list[int] = []
    custody = offsets.custody
    while waiting or running:
        startable = [offset for offset in waiting if _may_start(custody, offset, running)]
        if startable and (not running or data.draw(st.booleans())):
            offset = data.draw(st.sampled_from(startable))
            waiting.remove(offset)
            way = custody.way(offset)
            if way is Way.NEVER:
                buried.add(offset)
                offsets.finish(offset)
                continue
            if way is not Way.FREELY:
                custody.start(offset)
                committed = _commit(offsets)
            starts[offset] += 1
            running.append(offset)
            if offset in culprits:
                return End.DIED, committed
        else:
            offset = data.draw(st.sampled_from(running))
            running.remove(offset)
            custody.end(offset)
            offsets.finish(offset)
            if data.draw(st.booleans()):
                committed = _commit(offsets)
        if waiting and not running and data.draw(st.integers(0, 9)) == 0:
            custody.let_go(offsets.watermark)
            return End.HANDED_OVER, _commit(offsets)
    return End.DONE, committed


def _may_start(custody: Custody, offset: int, running: list[int]) -> bool:
    way = custody.way(offset)
    alone = any(custody.way(other) is Way.ALONE for other in running)
    return way is Way.NEVER or (not alone and (not running if way is Way.ALONE else not custody.crowded))


def _commit(offsets: OffsetTracker) -> tuple[int, str]:
    commit = offsets.commit()
    assert len(commit.metadata) <= METADATA_LIMIT
    return commit.watermark, commit.metadata
