"""Which partitions are fetched no further, why, and when they are asked for again."""

from __future__ import annotations

from typing import cast

import pytest

from streams.core.offsets.tracker import OffsetTracker
from streams.core.partition.partition import QueuePartition
from streams.ports.group import GroupRequests
from streams.ports.records import TopicPartition, WorkPartition
from streams.worker.backpressure import Backpressure, FetchBlock

MAIL, HOOK = "jobs.mail", "jobs.hook"
P0, P1, OTHER = TopicPartition(MAIL, 0), TopicPartition(MAIL, 1), TopicPartition(HOOK, 0)


class Fetches:
    """Notes what is to be fetched again; nothing else is asked for here."""

    def __init__(self) -> None:
        self.again: list[TopicPartition] = []

    def fetch_again(self, tp: TopicPartition) -> None:
        self.again.append(tp)


@pytest.fixture
def fetches() -> Fetches:
    return Fetches()


@pytest.fixture
def pressure(fetches: Fetches) -> Backpressure:
    return Backpressure(
        cast("GroupRequests", fetches), [MAIL, HOOK], limit_jobs=9, limit_bytes=90, parked_jobs=9, parked_bytes=90
    )


def partition(read: int = 0) -> WorkPartition:
    """A partition with room for four jobs that has read so many."""
    made: WorkPartition = QueuePartition(OffsetTracker(0), limit_jobs=4, limit_bytes=1000)
    for offset in range(read):
        made.offsets.read(offset)
    return made


def test_a_full_partition_is_fetched_again_when_it_has_drained(pressure: Backpressure, fetches: Fetches) -> None:
    full = partition(4)
    assert pressure.why_closed(P0) is None
    pressure.close_full(P0, full)
    assert pressure.why_closed(P0) is FetchBlock.FULL
    assert pressure.why_closed(P1) is None
    pressure.reopen_drained(full)
    assert not fetches.again
    full.offsets.finish(0)
    pressure.reopen_drained(full)
    assert fetches.again == [P0]
    assert pressure.why_closed(P0) is None
    pressure.reopen_all_drained()
    assert fetches.again == [P0], "once"


def test_what_another_partition_has_made_room_for_is_fetched_again(pressure: Backpressure, fetches: Fetches) -> None:
    full, drained = partition(4), partition(1)
    pressure.close_full(P0, full)
    pressure.close_full(P1, drained)
    pressure.reopen_all_drained()
    assert fetches.again == [P1]
    assert pressure.full == {full: P0}


def test_partitions_of_a_queue_with_enough_are_fetched_when_it_is_hungry(
    pressure: Backpressure, fetches: Fetches
) -> None:
    for tp in (P0, P1, OTHER):
        pressure.close_enough(tp)
    assert pressure.why_closed(P1) is FetchBlock.ENOUGH
    pressure.hungry(MAIL)
    assert fetches.again == [P0, P1]
    assert [pressure.why_closed(tp) for tp in (P0, P1, OTHER)] == [None, None, FetchBlock.ENOUGH]
    pressure.hungry(MAIL)
    assert fetches.again == [P0, P1]


def test_a_lost_partition_is_not_asked_for(pressure: Backpressure, fetches: Fetches) -> None:
    full, other = partition(), partition()
    pressure.close_full(P0, full)
    pressure.close_enough(P1)
    pressure.forget(P0, full)
    pressure.forget(P1, other)
    pressure.reopen_all_drained()
    pressure.hungry(MAIL)
    assert not fetches.again
    assert [pressure.why_closed(tp) for tp in (P0, P1)] == [None, None]


def test_the_partitions_of_a_queue_share_its_limits(pressure: Backpressure) -> None:
    few, many = [partition()], [partition() for _ in range(20)]
    pressure.divide_limits(HOOK, few)
    pressure.divide_limits(MAIL, many)
    assert (few[0].limit_jobs, few[0].limit_bytes) == (9, 90)
    assert {(each.limit_jobs, each.limit_bytes) for each in many} == {(1, 4)}
    assert pressure.budgets[MAIL].partitions == many
    pressure.divide_limits(MAIL, [])
    assert pressure.budgets[MAIL].partitions == []
