"""Missed firings: the decision is that of a naive walk, and its work is bounded."""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.schedule.cron import Cron
from streams.core.schedule.interval import Interval
from streams.core.schedule.missed import (
    LONGEST_GRACE_MS,
    MOST_COUNTED,
    MOST_MISSED,
    DueFirings,
    MissedPolicy,
    MissedPolicyInvalid,
    OnMissed,
    Progress,
    due_firings,
)
from streams.core.schedule.recurrence import Recurrence, Rule

SECOND, HOUR, DAY = 1000, 3_600_000, 86_400_000
NOW = int(datetime(2026, 10, 25, 1, 0, tzinfo=UTC).timestamp() * 1000)  # Berlin puts its clocks back
HOURLY = Recurrence(rule=Interval(HOUR))


def due(recurrence: Recurrence, progress: Progress, policy: MissedPolicy, **options: Any) -> DueFirings:
    return due_firings(recurrence, "a", progress, **{"now_ms": NOW, "policy": policy, "grace_ms": 5000, **options})


def naive(recurrence: Recurrence, progress: Progress, policy: MissedPolicy, now_ms: int, grace_ms: int) -> DueFirings:
    """One nominal time after another, and what is known of all of them together."""
    passed: list[int] = []
    nominal = recurrence.next_after(progress.last_ms, progress.fired)
    while nominal is not None and recurrence.due_ms("a", nominal) <= now_ms:
        passed.append(nominal)
        nominal = recurrence.next_after(nominal, progress.fired)
    late = {each: now_ms - recurrence.due_ms("a", each) for each in passed}
    on_time = [each for each in passed if late[each] <= grace_ms]
    missed = [
        each
        for each in passed
        if late[each] > grace_ms and (policy.window_ms is None or late[each] <= policy.window_ms)
    ]
    kept = {OnMissed.SKIP: [], OnMissed.ONE: missed[-1:], OnMissed.ALL: missed[-policy.most :]}[policy.action]
    left = len(passed) if recurrence.count is None else recurrence.count - progress.fired
    fire = [*kept, *on_time][:left]
    fired = progress.fired + len(fire)
    ended = recurrence.count is not None and fired >= recurrence.count and fire
    handled = passed[: passed.index(fire[-1]) + 1] if ended else passed
    return DueFirings(
        tuple(fire),
        len(handled) - len(fire),
        more_skipped=False,
        progress=Progress(handled[-1] if handled else progress.last_ms, fired),
    )


crons = st.sampled_from(["*/10 * * * *", "0 * * * *", "30 2 * * *", "0 0 9 * * 1-5", "0 */2 * * *"])
rules: st.SearchStrategy[Rule] = st.one_of(
    st.builds(Interval, st.integers(HOUR // 4, 2 * HOUR), st.integers(0, HOUR)),
    crons.map(lambda expression: Cron.parse(expression, "Europe/Berlin")),
)
near = st.integers(NOW - 3 * DAY, NOW + DAY)


@st.composite
def recurrences(draw: st.DrawFn) -> Recurrence:
    start, end = draw(st.none() | near), draw(st.none() | near)
    if start is not None and end is not None:
        start, end = min(start, end), max(start, end)
    count, jitter = draw(st.none() | st.integers(1, 30)), draw(st.sampled_from([0, 0, SECOND, HOUR, DAY]))
    return Recurrence(rule=draw(rules), start_ms=start, end_ms=end, count=count, jitter_ms=jitter)


policies = st.builds(
    MissedPolicy,
    st.sampled_from(OnMissed),
    st.sampled_from([1, 2, 5, 100, MOST_MISSED]),
    st.none() | st.integers(1, 2 * DAY),
)
graces = st.integers(0, LONGEST_GRACE_MS)


@given(recurrences(), near, st.integers(0, 31), near, policies, graces)
def test_the_decision_is_that_of_a_naive_walk(
    recurrence: Recurrence, last_ms: int, fired: int, now_ms: int, policy: MissedPolicy, grace_ms: int
) -> None:
    progress = Progress(last_ms, fired)
    found = due_firings(recurrence, "a", progress, now_ms=now_ms, policy=policy, grace_ms=grace_ms)
    assert found == naive(recurrence, progress, policy, now_ms, grace_ms)


@given(recurrences(), st.lists(st.integers(1, 10 * HOUR), max_size=15), policies, graces)
def test_no_nominal_time_is_fired_twice_or_out_of_order_however_often_one_asks(
    recurrence: Recurrence, pauses: list[int], policy: MissedPolicy, grace_ms: int
) -> None:
    now_ms, progress = NOW - DAY, Progress(NOW - DAY)
    all_fired: list[int] = []
    for pause in pauses:
        now_ms += pause
        found = due_firings(recurrence, "a", progress, now_ms=now_ms, policy=policy, grace_ms=grace_ms)
        assert all(recurrence.due_ms("a", each) <= now_ms for each in found.fire)
        assert found.progress.last_ms >= progress.last_ms
        all_fired += found.fire
        progress = found.progress
        again = due_firings(recurrence, "a", progress, now_ms=now_ms, policy=policy, grace_ms=grace_ms)
        assert again == DueFirings((), 0, more_skipped=False, progress=progress)
    assert all_fired == sorted(set(all_fired))
    assert progress.fired == len(all_fired)
    assert recurrence.count is None or len(all_fired) <= recurrence.count


@given(recurrences(), near, near, graces)
def test_all_without_a_bound_loses_none(recurrence: Recurrence, last_ms: int, now_ms: int, grace_ms: int) -> None:
    policy = MissedPolicy(OnMissed.ALL, MOST_MISSED)
    found = due_firings(recurrence, "a", Progress(last_ms), now_ms=now_ms, policy=policy, grace_ms=grace_ms)
    assert found.skipped == 0


# -- by example -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "fire", "skipped"),
    [
        (MissedPolicy(OnMissed.SKIP), [0], 5),
        (MissedPolicy(OnMissed.ONE), [1, 0], 4),
        (MissedPolicy(OnMissed.ALL), [5, 4, 3, 2, 1, 0], 0),
        (MissedPolicy(OnMissed.ALL, 3), [3, 2, 1, 0], 2),
        (MissedPolicy(OnMissed.ALL, 100, 2 * HOUR), [2, 1, 0], 3),
        (MissedPolicy(OnMissed.ALL, 100, 2 * HOUR - 1), [1, 0], 4),
        (MissedPolicy(OnMissed.ONE, window_ms=HOUR - 1), [0], 5),
    ],
)
def test_six_hours_have_passed_of_which_one_is_now(policy: MissedPolicy, fire: list[int], skipped: int) -> None:
    found = due(HOURLY, Progress(NOW - 6 * HOUR, 7), policy)
    assert found.fire == tuple(NOW - each * HOUR for each in fire)
    assert found.skipped == skipped
    assert found.progress == Progress(NOW, 7 + len(fire))


@pytest.mark.parametrize(("late", "fires"), [(0, True), (5000, True), (5001, False)])
def test_late_by_no_more_than_the_grace_is_on_time(late: int, fires: bool) -> None:
    found = due(HOURLY, Progress(NOW - HOUR), MissedPolicy(OnMissed.SKIP), now_ms=NOW + late)
    assert found.fire == ((NOW,) if fires else ())
    assert found.progress.last_ms == NOW  # skipped is handled


def test_a_grace_has_bounds() -> None:
    policy = MissedPolicy(OnMissed.SKIP)
    assert not due(HOURLY, Progress(NOW - HOUR), policy, now_ms=NOW + LONGEST_GRACE_MS + 1, grace_ms=DAY).fire
    assert due(HOURLY, Progress(NOW - HOUR), policy, grace_ms=-1).fire == (NOW,)


def test_late_is_counted_from_when_a_firing_is_due_and_not_from_its_nominal_time() -> None:
    recurrence = Recurrence(rule=Interval(HOUR), jitter_ms=HOUR)
    due_ms = recurrence.due_ms("a", NOW)
    assert due_ms > NOW + 2000
    skip = MissedPolicy(OnMissed.SKIP)
    early = due(recurrence, Progress(NOW - HOUR), skip, now_ms=due_ms - 1)
    assert early == DueFirings((), 0, more_skipped=False, progress=Progress(NOW - HOUR))
    assert due(recurrence, Progress(NOW - HOUR), skip, now_ms=due_ms + 5000).fire == (NOW,)


def test_what_is_skipped_is_no_firing_of_the_count() -> None:
    recurrence = Recurrence(rule=Interval(HOUR), count=3)
    found = due(recurrence, Progress(NOW - 10 * HOUR - 1), MissedPolicy(OnMissed.SKIP), now_ms=NOW - 1)
    assert (found.fire, found.skipped, found.progress) == ((), 10, Progress(NOW - HOUR, 0))
    assert recurrence.next_after(*found.progress) == NOW


def test_what_is_left_of_the_count_goes_to_the_first() -> None:
    recurrence = Recurrence(rule=Interval(HOUR), count=3)
    found = due(recurrence, Progress(NOW - 6 * HOUR, 1), MissedPolicy(OnMissed.ALL, 4))
    assert found.fire == (NOW - 4 * HOUR, NOW - 3 * HOUR)
    assert (found.skipped, found.progress) == (1, Progress(NOW - 3 * HOUR, 3))
    assert recurrence.next_after(*found.progress) is None


def test_a_clock_that_goes_back_fires_nothing_again() -> None:
    progress = Progress(NOW, 5)
    assert due(HOURLY, progress, MissedPolicy(OnMissed.ALL), now_ms=NOW - DAY) == DueFirings(
        (), 0, more_skipped=False, progress=progress
    )


# -- bounded work -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [Interval(1000), Cron.parse("* * * * * *", "Europe/Berlin")], ids=["interval", "cron"])
@pytest.mark.parametrize("policy", [MissedPolicy(OnMissed.SKIP), MissedPolicy(), MissedPolicy(OnMissed.ALL, 100)])
def test_a_year_of_seconds_is_not_walked_through(rule: Rule, policy: MissedPolicy) -> None:
    calls = 0

    class Counted(Recurrence):
        def last_up_to(self, moment_ms: int) -> int | None:
            nonlocal calls
            calls += 1
            return super().last_up_to(moment_ms)

    begun = perf_counter()
    found = due(Counted(rule=rule), Progress(NOW - 366 * DAY), policy, grace_ms=0, now_ms=NOW + 500)
    assert perf_counter() - begun < 2  # far more than it takes: this is about minutes
    assert calls <= policy.most + 3
    assert found.progress.last_ms == NOW
    assert found.fire == tuple(range(NOW - (len(found.fire) - 1) * 1000, NOW + 1, 1000))
    if isinstance(rule, Interval):
        assert (found.skipped, found.more_skipped) == (366 * 86_400 - len(found.fire), False)
    else:
        assert (found.skipped, found.more_skipped) == (MOST_COUNTED, True)


def test_just_as_many_as_are_counted_are_not_more() -> None:
    every_minute = Recurrence(rule=Cron.parse("* * * * *"))
    last_ms = NOW - MOST_COUNTED * 60_000
    found = due(every_minute, Progress(last_ms), MissedPolicy(OnMissed.SKIP), now_ms=NOW + 30_000)
    assert (found.skipped, found.more_skipped) == (MOST_COUNTED, False)
    found = due(every_minute, Progress(last_ms - 60_000), MissedPolicy(OnMissed.SKIP), now_ms=NOW + 30_000)
    assert (found.skipped, found.more_skipped) == (MOST_COUNTED, True)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"action": "some"}, '"skip", "one" or "all"'),
        ({"action": None}, '"skip", "one" or "all"'),
        ({"most": 0}, "from 1 to 1000"),
        ({"most": MOST_MISSED + 1}, "from 1 to 1000"),
        ({"most": True}, "from 1 to 1000"),
        ({"window_ms": 0}, "use skip to fire nothing"),
        ({"window_ms": 1.5}, "up to ten years"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_with_the_remedy(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(MissedPolicyInvalid) as told:
        MissedPolicy(**options)
    assert remedy in str(told.value)


def test_an_action_may_be_given_by_its_name() -> None:
    assert MissedPolicy("all").action is OnMissed.ALL  # type: ignore[arg-type]
