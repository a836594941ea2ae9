"""Intervals: no drift, whatever one asks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.schedule.interval import LONGEST_MS, Interval, IntervalInvalid

moments = st.integers(-(2**45), 2**45)
intervals = st.builds(Interval, st.integers(1, LONGEST_MS), moments)


@given(intervals, moments)
def test_the_next_firing_is_the_first_of_the_anchors_multiples_that_is_later(interval: Interval, moment: int) -> None:
    following = interval.after_ms(moment)
    assert moment < following <= moment + interval.every_ms
    assert (following - interval.anchor_ms) % interval.every_ms == 0


@given(intervals, moments)
def test_the_last_firing_is_one_before_the_next(interval: Interval, moment: int) -> None:
    assert interval.up_to_ms(moment) == interval.after_ms(moment) - interval.every_ms <= moment


@given(intervals, moments, st.integers(1, 1000), st.integers(0, 10**9))
def test_nothing_drifts_however_late_one_asks(interval: Interval, moment: int, firings: int, late: int) -> None:
    """Each firing asks for the next one late; it is where it would have been."""
    nominal = first = interval.after_ms(moment)
    for _ in range(min(firings, 20)):
        nominal = interval.after_ms(nominal + late % interval.every_ms)
    assert nominal == first + min(firings, 20) * interval.every_ms


@given(st.integers(1, 1000), st.integers(-1000, 1000), st.integers(-2000, 2000), st.integers(0, 3000))
def test_firings_are_counted_without_a_walk(every: int, anchor: int, after: int, length: int) -> None:
    interval = Interval(every, anchor)
    walked = [each for each in range(after + 1, after + length + 1) if (each - anchor) % every == 0]
    assert interval.count(after, after + length) == len(walked)


def test_a_year_of_seconds_is_counted_at_once() -> None:
    assert Interval(1000).count(0, 366 * 86_400_000) == 366 * 86_400


def test_nothing_is_counted_backwards() -> None:
    assert Interval(1000).count(10_000, 0) == 0


@pytest.mark.parametrize("every", [0, -1, LONGEST_MS + 1, 1.5, True, None, "1"])
def test_an_interval_that_cannot_be_is_refused(every: int) -> None:
    with pytest.raises(IntervalInvalid, match=r"from 1 to \d+ \(ten years\).*use a cron expression"):
        Interval(every)


def test_an_anchor_is_a_whole_number() -> None:
    with pytest.raises(IntervalInvalid, match="whole epoch milliseconds"):
        Interval(1000, 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("every_ms", "words"),
    [
        (1000, "every second"),
        (30_000, "every 30 seconds"),
        (1500, "every 1.5 seconds"),
        (60_000, "every minute"),
        (90_000, "every 90 seconds"),
        (600_000, "every 10 minutes"),
        (3_600_000, "every hour"),
        (86_400_000, "every day"),
        (7 * 86_400_000, "every 7 days"),
        (1, "every 0.001 seconds"),
    ],
)
def test_an_interval_reads_in_words(every_ms: int, words: str) -> None:
    assert Interval(every_ms).words() == words
