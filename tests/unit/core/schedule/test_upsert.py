"""Definitions from code against the log's: the newest stands, whoever restarts in whatever order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.core.schedule.definition import LONGEST_HISTORY, Schedule, Source
from streams.core.schedule.upsert import Removed, ScheduleTaken, Upsert, UpsertDecision, removed, upsert
from tests.unit.core.schedule.schedules import schedule


def version(number: int, **members: Any) -> Schedule:
    return schedule(payload={"version": number}, **members)


def start(current: Schedule | None, mine: Schedule) -> tuple[Upsert, Schedule]:
    """What a start makes of the log."""
    action, record = upsert(mine, current)
    assert (record is not None) is (action is Upsert.WRITE)
    stands = record or current
    assert stands is not None
    return action, stands


OLD, NEW = version(1), version(2)


def test_the_first_definition_is_written() -> None:
    assert upsert(OLD, None) == UpsertDecision(Upsert.WRITE, OLD)


def test_the_same_is_kept() -> None:
    assert upsert(OLD, OLD) == UpsertDecision(Upsert.KEEP)


def test_another_is_written_and_remembers_what_was_before() -> None:
    assert upsert(NEW, OLD) == UpsertDecision(Upsert.WRITE, replace(NEW, history=(OLD.content_hash,)))


def test_what_it_was_before_comes_from_an_older_deploy() -> None:
    _, log = start(OLD, NEW)
    assert upsert(OLD, log) == UpsertDecision(Upsert.OLDER)
    _, log = start(log, version(3))
    assert upsert(OLD, log) == upsert(NEW, log) == UpsertDecision(Upsert.OLDER)


@pytest.mark.parametrize("mine", [OLD, NEW])
def test_a_lower_release_never_overwrites(mine: Schedule) -> None:
    assert upsert(replace(mine, release=1), replace(OLD, release=2)) == UpsertDecision(Upsert.OLDER)


def test_a_higher_release_overwrites_even_with_what_it_was_before() -> None:
    _, log = start(OLD, NEW)
    action, log = start(log, replace(OLD, release=1))
    assert (action, log.release, log.content_hash) == (Upsert.WRITE, 1, OLD.content_hash)
    assert log.history == (NEW.content_hash,)
    assert upsert(NEW, log) == UpsertDecision(Upsert.OLDER)


def test_a_higher_release_of_the_same_is_written_so_that_lower_ones_stay_below() -> None:
    action, log = start(OLD, replace(OLD, release=3))
    assert (action, log.release, log.history) == (Upsert.WRITE, 3, ())


def test_what_was_added_at_run_time_is_never_overwritten_by_code() -> None:
    current = replace(OLD, source=Source.RUN_TIME)
    for mine in (OLD, NEW, replace(NEW, release=99)):
        with pytest.raises(ScheduleTaken, match=r"'reports/daily' was added at run time.*another id, or remove"):
            upsert(mine, current)


def test_a_history_forgets_what_is_oldest() -> None:
    log, versions = OLD, [version(each) for each in range(2, LONGEST_HISTORY + 4)]
    for each in versions:
        _, log = start(log, each)
    assert len(log.history) == LONGEST_HISTORY
    assert upsert(versions[1], log).action is Upsert.OLDER
    assert upsert(OLD, log).action is Upsert.WRITE  # so long ago that nobody knows


def test_a_history_is_that_of_the_log_and_not_of_the_code() -> None:
    _, record = upsert(replace(NEW, history=("0" * 16,)), None)
    assert record is not None
    assert record.history == ()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=30))
def test_a_release_in_the_log_never_falls_and_the_content_never_is_in_its_own_history(
    starts: list[tuple[int, int]],
) -> None:
    log: Schedule | None = None
    for number, release in starts:
        before = log
        _, log = start(log, version(number, release=release))
        assert before is None or log.release >= before.release
        assert log.content_hash not in log.history
        assert len(set(log.history)) == len(log.history)


# -- rolling deploys --------------------------------------------------------------------------------------------------


class RollingDeploy(RuleBasedStateMachine):
    """Workers of two versions in a row start and start again in any order, while one deploy after another goes on.

    A deploy begins when the last is over: all workers have its code. That is what makes the one before an older one.
    """

    @initialize(workers=st.integers(1, 4), raises=st.booleans())
    def first_deploy(self, workers: int, raises: bool) -> None:
        self.raises_release = raises
        self.newest = self.older = version(0)
        self.has = [self.newest] * workers
        self.log: Schedule | None = None
        self.newest_started = False
        self.writes: list[Schedule] = []
        self.start_again(0)

    @rule(worker=st.integers(0, 3))
    def start_again(self, worker: int) -> None:
        mine = self.has[worker % len(self.has)]
        action, self.log = start(self.log, mine)
        if action is Upsert.WRITE:
            self.writes.append(mine)
        self.newest_started |= mine is self.newest

    @rule(worker=st.integers(0, 3))
    def replace_a_worker(self, worker: int) -> None:
        self.has[worker % len(self.has)] = self.newest
        self.start_again(worker)

    @precondition(lambda self: all(each is self.newest for each in self.has) and self.newest_started)
    @rule()
    def next_deploy(self) -> None:
        self.older = self.newest
        release = self.older.release + self.raises_release
        # With a release, a deploy may bring back what was there two deploys ago.
        number = len(self.writes) % 2 if self.raises_release else len(self.writes)
        self.newest = version(number, release=release)
        self.newest_started = False

    @precondition(lambda self: self.newest_started)
    @rule()
    def deploy_is_broken_off_and_goes_on(self) -> None:
        """Workers go back to the older code, and start; the newest definition stays, as it says in the log."""
        self.has = [self.older] * len(self.has)
        for worker in range(len(self.has)):
            self.start_again(worker)

    @invariant()
    def the_newest_that_has_started_stands(self) -> None:
        expected = self.newest if self.newest_started else self.older
        assert self.log is not None
        assert (self.log.content_hash, self.log.release) == (expected.content_hash, expected.release)

    @invariant()
    def nobody_writes_over_another_time_and_again(self) -> None:
        told = [(each.content_hash, each.release) for each in self.writes]
        assert len(set(told)) == len(told)


TestRollingDeploys = RollingDeploy.TestCase


# -- what is no longer in the code ------------------------------------------------------------------------------------


def test_what_is_gone_is_deleted_by_a_higher_release_and_reported_else() -> None:
    log = [
        schedule(id="stays"),
        schedule(id="gone", release=1),
        schedule(id="a-gone", release=0),
        schedule(id="newer", release=3),
        schedule(id="equal", release=2),
        schedule(id="by-hand", source=Source.RUN_TIME),
    ]
    assert removed(log, {"stays"}, 2) == Removed(delete=("a-gone", "gone"), report=("equal", "newer"))
    assert removed(log, {"stays"}, 0) == Removed(delete=(), report=("a-gone", "equal", "gone", "newer"))


def test_nothing_is_gone_that_is_in_the_code() -> None:
    assert removed([schedule(id="stays", release=0)], ["stays"], 9) == Removed((), ())
