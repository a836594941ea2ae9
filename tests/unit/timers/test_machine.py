"""The model of a partition of delayed jobs holds, and finds each of its mechanisms missing."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from streams.timers.partition import PartitionTimers
from tests.unit.timers.machine import TimersMachine
from tests.unit.timers.world import ModelTransactions

_SETTINGS = settings(max_examples=60, stateful_step_count=40, deadline=None)
#: Enough to find what is broken, which most runs do within some tens.
_UNTIL_FOUND = settings(
    max_examples=2_000,
    stateful_step_count=40,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)


def test_each_job_goes_once_and_none_is_lost() -> None:
    run_state_machine_as_test(TimersMachine, settings=_SETTINGS)


class _NoFence(ModelTransactions):
    def _is_fenced(self) -> bool:
        return False


class _WithoutFence(TimersMachine):
    transactions_type = _NoFence


def test_without_fencing_a_job_goes_twice() -> None:
    with pytest.raises(AssertionError, match="went twice"):
        run_state_machine_as_test(_WithoutFence, settings=_UNTIL_FOUND)


def test_a_partition_that_is_not_loaded_first_fires_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartitionTimers, "loaded", property(lambda self: self.fenced))
    with pytest.raises(AssertionError, match="went twice"):
        run_state_machine_as_test(TimersMachine, settings=_UNTIL_FOUND)


def test_what_comes_before_an_own_tombstone_must_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = PartitionTimers._take_one

    def forgetful(self: PartitionTimers, *arguments: object) -> None:
        self._fired.clear()
        taken(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PartitionTimers, "_take_one", forgetful)
    with pytest.raises(AssertionError, match="went twice"):
        run_state_machine_as_test(TimersMachine, settings=_UNTIL_FOUND)
