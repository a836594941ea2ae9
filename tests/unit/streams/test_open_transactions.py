"""Which open transactions are told of, and when."""

from __future__ import annotations

from streams.kafka.admin.open_transactions import HeldBackPartitions
from tests.unit.streams.rig import P0, P1


def test_one_that_is_open_for_long_is_told_of_once() -> None:
    open_for = HeldBackPartitions()
    assert open_for.note({P0: 5}, 0) == []
    assert open_for.note({P0: 5, P1: 1}, 9) == []
    assert open_for.note({P0: 5, P1: 1}, 11) == [(P0, 5)]
    assert open_for.note({P0: 5, P1: 1}, 30) == [(P1, 1)]
    assert open_for.note({P0: 5, P1: 1}, 60) == []


def test_the_next_one_is_another() -> None:
    open_for = HeldBackPartitions()
    open_for.note({P0: 5}, 0)
    assert open_for.note({P0: 7}, 11) == []
    assert open_for.note({P0: 7}, 22) == [(P0, 7)]
    assert open_for.note({}, 30) == []
    assert open_for.note({P0: 7}, 31) == []
