"""Ids of firings: one for each schedule and nominal time, now and in later versions."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from streams.core.schedule.firing_id import NAMESPACE, firing_id

ids = st.from_regex(r"[A-Za-z0-9._/-]{1,200}", fullmatch=True)
times = st.integers(0, 2**48)


@given(ids, times)
def test_an_id_is_a_uuid_of_version_five_and_always_the_same(schedule_id: str, nominal_ms: int) -> None:
    assert UUID(firing_id(schedule_id, nominal_ms)).version == 5
    assert firing_id(schedule_id, nominal_ms) == firing_id(schedule_id, nominal_ms)


@given(st.tuples(ids, times), st.tuples(ids, times))
def test_no_two_firings_share_one(one: tuple[str, int], other: tuple[str, int]) -> None:
    assert (firing_id(*one) == firing_id(*other)) is (one == other)


def test_ids_and_times_do_not_run_into_each_other() -> None:
    assert firing_id("a", 11) != firing_id("a1", 1)


def test_ids_never_change() -> None:
    """Two versions of a worker that fire the same must give it the same id."""
    assert str(NAMESPACE) == KNOWN[0]
    assert firing_id("reports/daily", 1_767_225_600_000) == KNOWN[1]


KNOWN = ("d5551fa9-f89a-4980-a04c-593950c75e8a", "2583448d-644a-5d35-be8d-3c120a07e596")
