"""How many lines of one kind the log gets."""

from __future__ import annotations

from streams.logs.throttle import Throttle


def test_so_many_lines_are_allowed_in_a_period_and_the_others_are_counted() -> None:
    throttle = Throttle(2, period=1.0)
    assert throttle.is_over(0.0), "the first one has not begun"
    assert throttle.next_period(0.0) == 0
    assert [throttle.allow() for _ in range(5)] == [True, True, False, False, False]
    assert not throttle.is_over(0.9)
    assert throttle.is_over(1.0)
    assert throttle.next_period(1.0) == 3
    assert throttle.allow()


def test_nothing_is_left_to_sum_up_where_all_were_allowed() -> None:
    throttle = Throttle(2)
    throttle.next_period(0.0)
    throttle.allow()
    assert throttle.next_period(5.0) == 0
    assert not throttle.is_over(5.9), "a period begins when it is asked for"
