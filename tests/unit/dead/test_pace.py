"""The rate of a redrive, in virtual time."""

from __future__ import annotations

from itertools import pairwise

import pytest

from streams.dead.redrive.pace import Pace


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.mark.parametrize("rate", [0.5, 3, 1000])
def test_so_many_jobs_a_second(rate: float) -> None:
    clock = Clock()
    pace = Pace(rate, clock=clock, sleep=clock.sleep)
    went = []
    for _ in range(50):
        pace.wait()
        went.append(clock.now)
    assert went[0] == 100.0
    assert went[-1] == pytest.approx(100.0 + 49 / rate)
    assert all(later - earlier == pytest.approx(1 / rate) for earlier, later in pairwise(went))


def test_lost_time_is_not_made_up_for() -> None:
    clock = Clock()
    pace = Pace(10, clock=clock, sleep=clock.sleep)
    pace.wait()
    clock.now += 60
    pace.wait()
    before = clock.now
    pace.wait()
    assert clock.now == pytest.approx(before + 0.1)


def test_no_rate_is_no_wait() -> None:
    def never(seconds: float) -> None:
        raise AssertionError(seconds)

    pace = Pace(None, sleep=never)
    for _ in range(3):
        pace.wait()
