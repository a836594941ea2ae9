"""No history that the admission rule lets happen makes a map that a broker would refuse."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.offsets import finished_map
from streams.core.offsets.commit_metadata import MAP_LIMIT
from streams.core.offsets.finished_map import COST_BITS, decode
from streams.core.offsets.tracker import OffsetTracker
from streams.core.partition.lanes import Lane
from tests.unit.core.records import Job, Jobs, runs_of

#: What a fetch brings at the most: a partition is looked at again only after the whole batch.
BATCH = 1000


def token_bytes(pending: Sequence[int], high: int) -> int:
    unfinished = set(pending)
    first = pending[0] if pending else high + 1
    runs = runs_of(offset not in unfinished for offset in range(first, high + 1))
    return len(finished_map._tokens(runs))


edges = st.sampled_from([1, 2, 3, 7, 8, 9, 31, 32, 56, 57, 62, 63, 64, 65, 70, 71, 128])
unfinished_runs = st.one_of(edges, st.integers(1, 150))
finished_runs = st.one_of(edges, st.sampled_from([4095, 4096, 4101, 4102, 4103]), st.integers(1, 300))


@given(
    before=st.lists(st.tuples(unfinished_runs, finished_runs), max_size=8),
    read=st.integers(0, 200),
    seed=st.integers(0, 2**32),
    share=st.sampled_from([0.02, 0.2, 0.5, 0.8, 0.98]),
)
def test_an_offset_costs_no_more_than_it_is_charged(
    before: list[tuple[int, int]], read: int, seed: int, share: float
) -> None:
    """Whatever finishes next, the map grows by COST_BITS at most for each offset that was unfinished or is read."""
    end, pending = 0, list[int]()
    for unfinished, finished in before:
        pending += range(end, end + unfinished)
        end += unfinished + finished
    size = token_bytes(pending, end - 1)
    pending += range(end, end + read)
    lot = random.Random(seed)
    finishes = {offset for offset in pending if lot.random() < share}
    after = token_bytes([o for o in pending if o not in finishes], max([end - 1, *finishes]))
    assert (after - size) * 8 <= COST_BITS * len(pending) + 8 * 4


@dataclass
class Load:
    """Which records of a load never finish."""

    slow_every: int = 2
    slow_run: int = 1
    batch: int = BATCH


def largest_map(load: Load, records: int) -> int:
    """The largest metadata, in characters, while a partition reads as much as it admits and slow jobs never end."""
    partition = Jobs(OffsetTracker(0), limit_jobs=1_000_000, limit_bytes=1)
    offset = read = largest = 0
    while not partition.full and read < records:
        batch = [Job(offset + index) for index in range(load.batch)]
        offset = batch[-1].offset + 1
        for lane in partition.admit(batch):
            if read % load.slow_every >= load.slow_run:
                partition.finish(lane)
            read += 1
        largest = max(largest, len(partition.offsets.commit().metadata))
    return largest


LOADS = [
    Load(slow_every=2),
    Load(slow_every=3, slow_run=2),
    Load(slow_every=65, slow_run=1),
    Load(slow_every=65, slow_run=64),
    Load(slow_every=66, slow_run=2),
    Load(slow_every=130, slow_run=65),
    Load(slow_every=4103, slow_run=2),
    Load(slow_every=4097, slow_run=1),
    Load(slow_every=9, slow_run=1, batch=100),
]


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_a_map_always_fits(load: Load) -> None:
    assert 0 < largest_map(load, 300_000) <= MAP_LIMIT


@pytest.mark.parametrize("spacing", [2, 3, 5, 33, 65, 200, 5000])
@pytest.mark.parametrize("batch", [1, BATCH])
def test_gaps(spacing: int, batch: int) -> None:
    """Offsets that are not in the log, such as the markers of transactions, take up room in the map as well."""
    partition = Jobs(OffsetTracker(0), limit_jobs=1_000_000, limit_bytes=1)
    lanes: list[Lane[Job, Jobs]] = []
    while not partition.full:
        start = partition.offsets.next_offset
        lanes += partition.admit([Job(start + (index + 1) * spacing - 1) for index in range(batch)])
    partition.finish(lanes[-1])
    assert_commits(partition, complete=batch == 1)


def assert_commits(partition: Jobs, *, complete: bool = True) -> None:
    """The commit fits, and says of no offset that it is finished unless it is; of all that are, if it is complete."""
    tracker = partition.offsets
    commit = tracker.commit()
    assert len(commit.metadata.partition("~")[0]) <= MAP_LIMIT
    restored = OffsetTracker(commit.watermark, commit.metadata)
    assert commit.watermark == tracker.watermark
    assert {offset for offset in tracker._pending if offset < restored._end} == restored._pending.keys()
    if complete and tracker.pending:
        assert restored._end == max(tracker._high + 1, commit.watermark)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([1, 10, 300, BATCH]),
            st.sampled_from([1, 1, 1, 1, 2, 3, 70]),
            st.sampled_from([0.0, 0.05, 0.5, 0.9, 0.999]),
            st.booleans(),
        ),
        min_size=1,
        max_size=60,
    ),
    repeat=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_no_admissible_history_makes_a_map_too_large(
    steps: list[tuple[int, int, float, bool]], repeat: int, seed: int
) -> None:
    """Read in batches while not full, finish in any order, commit now and then: the map always fits."""
    lot = random.Random(seed)
    # One batch may overshoot the limits; where it is full of gaps the map is cut, which costs repetitions, not jobs.
    complete = all(spacing == 1 for _batch, spacing, _share, _commits in steps)
    partition = Jobs(OffsetTracker(0), limit_jobs=1_000_000, limit_bytes=1)
    lanes: list[Lane[Job, Jobs]] = []
    for batch, spacing, share, commits in steps * repeat:
        if not partition.full:
            start = partition.offsets.next_offset
            lanes += partition.admit([Job(start + (index + 1) * spacing - 1) for index in range(batch)])
        finishing = {id(lane) for lane in lanes if lot.random() < share}
        for lane in [lane for lane in lanes if id(lane) in finishing]:
            partition.finish(lane)
        lanes = [lane for lane in lanes if id(lane) not in finishing]
        if commits:
            assert_commits(partition, complete=complete)
    assert_commits(partition, complete=complete)


def test_a_full_map_makes_a_partition_full_and_draining_it_roomy() -> None:
    partition = Jobs(OffsetTracker(0), limit_jobs=1_000_000, limit_bytes=1)
    lanes: list[Lane[Job, Jobs]] = []
    while not is_full(partition):
        lanes += partition.admit([Job(partition.offsets.next_offset + index) for index in range(BATCH)])
    assert partition.offsets.pending > 10_000
    assert not may_read_again(partition)
    slow, *others = lanes
    for lane in others:
        partition.finish(lane)
    partition.offsets.commit()
    assert may_read_again(partition)
    partition.finish(slow)
    assert not is_full(partition)


def is_full(partition: Jobs) -> bool:
    return partition.full


def may_read_again(partition: Jobs) -> bool:
    return partition.may_read_again


def test_room_is_charged_for_every_read() -> None:
    """The rule would be none if reading cost nothing until the next commit."""
    tracker = OffsetTracker(0)
    room = tracker.map_headroom
    tracker.read(0)
    tracker.read(1)
    assert tracker.map_headroom <= room - 2


def test_a_restored_map_counts_against_the_room() -> None:
    fresh = OffsetTracker(0)
    tracker = OffsetTracker(0)
    for offset in range(2000):
        tracker.read(offset)
    for offset in range(1, 2000, 2):
        tracker.finish(offset)
    commit = tracker.commit()
    assert sum(decode(commit.metadata.partition("~")[0])[::2]) == 1000
    restored = OffsetTracker(commit.watermark, commit.metadata)
    assert restored.map_headroom < fresh.map_headroom - 1000
