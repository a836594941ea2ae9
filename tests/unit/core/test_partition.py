"""What a partition takes in, and when it stops and goes on reading."""

from __future__ import annotations

import pytest

from streams.core.offsets.tracker import OffsetTracker
from streams.core.partition.capacity import HEADER_SIZE
from tests.unit.core.records import Job, Jobs

BATCH = 1000


def partition(limit_jobs: int = 100, limit_bytes: int = 10_000, tracker: OffsetTracker | None = None) -> Jobs:
    return Jobs(tracker or OffsetTracker(0), limit_jobs=limit_jobs, limit_bytes=limit_bytes)


def jobs(start: int, count: int, *, size: int = 0, key: bytes | None = None) -> list[Job]:
    return [Job(offset, key, bytes(size)) for offset in range(start, start + count)]


def is_full(part: Jobs) -> bool:
    return part.full


def may_read_again(part: Jobs) -> bool:
    return part.may_read_again


def test_is_full_at_its_limit_of_jobs_and_roomy_at_three_quarters() -> None:
    part = partition(limit_jobs=100)
    lanes = part.admit(jobs(0, 99))
    assert not is_full(part)
    lanes += part.admit(jobs(99, 1))
    assert is_full(part)
    for lane in lanes[:24]:
        part.finish(lane)
    assert not may_read_again(part)
    part.finish(lanes[24])
    assert may_read_again(part)


def test_is_full_at_its_limit_of_bytes_and_roomy_at_three_quarters() -> None:
    part = partition(limit_bytes=1000)
    lanes = part.admit(jobs(0, 9, size=100))
    assert not is_full(part)
    lanes += part.admit(jobs(9, 1, size=100))
    assert is_full(part)
    for lane in lanes[:2]:
        part.finish(lane)
    assert not may_read_again(part)
    part.finish(lanes[2])
    assert may_read_again(part)


def test_records_that_are_skipped_take_no_room() -> None:
    before = partition()
    first, *others = before.admit(jobs(0, 50, size=1000))
    for lane in others:
        before.finish(lane)
    commit = before.offsets.commit()
    after = partition(tracker=OffsetTracker(commit.watermark, commit.metadata), limit_bytes=1001)
    lanes = after.admit(jobs(0, 50, size=1000))
    assert [lane.head.offset for lane in lanes] == [first.head.offset]
    assert not is_full(after)


@pytest.mark.parametrize(
    "job",
    [
        Job(0, bytes(1000), None),
        Job(0, None, None, (("a", bytes(1000 - HEADER_SIZE + 1024)),)),
        Job(0, None, None, (("a", None), ("b", b"")) * 8),
        Job(0, bytes(300), bytes(300), (("a", b"1"),) * 8),
    ],
)
def test_keys_and_headers_count_too(job: Job) -> None:
    part = partition(limit_bytes=1000)
    (lane,) = part.admit([job])
    assert is_full(part)
    part.finish(lane)
    assert may_read_again(part)
    assert not is_full(partition(limit_bytes=10_000).admit([job])[0].owner)


def test_large_headers_among_small_ones_count() -> None:
    """A sample shows that there are some; then every one counts, wherever it stands, until it is finished."""
    mixed = [
        Job(offset, None, None, (("a", b"1"), ("b", bytes(50_000) if offset % 4 else None))) for offset in range(40)
    ]
    limit = 31 * 50_000
    part = partition(limit_bytes=limit)
    lanes = part.admit(mixed[1:])
    assert not is_full(part), "30 large ones"
    lanes += part.admit([Job(40 + n, None, None, (("c", bytes(50_000 * (n == 1))),)) for n in range(2)])
    assert is_full(part)
    for lane in lanes:
        part.finish(lane)
    lanes = part.admit([Job(42, None, bytes(limit - 1))])
    assert not is_full(part), "nothing is left of what has finished"
    part.admit([Job(43, None, b"1")])
    assert is_full(part)


def test_a_null_value_takes_no_bytes() -> None:
    part = partition(limit_bytes=1)
    (lane,) = part.admit([Job(0, None, None)])
    assert not is_full(part)
    part.finish(lane)
    assert may_read_again(part)


def test_every_way_of_reading_counts_the_same() -> None:
    """A batch without gaps, one with a gap and one that overlaps what was read leave the same behind."""
    whole, gapped, overlapping = partition(limit_bytes=600), partition(limit_bytes=600), partition(limit_bytes=600)
    whole.admit(jobs(0, 6, size=100))
    gapped.admit(jobs(0, 3, size=100) + jobs(4, 3, size=100))
    overlapping.admit(jobs(0, 3, size=100))
    overlapping.admit(jobs(1, 5, size=100))
    for part in (whole, gapped, overlapping):
        assert is_full(part)
        assert part.offsets.pending == 6


def test_one_key_is_one_lane() -> None:
    part = partition()
    (lane,) = part.admit(jobs(0, 3, key=b"a"))
    assert part.admit(jobs(3, 2, key=b"a")) == []
    order = [lane.head.offset]
    while part.finish(lane):
        order.append(lane.head.offset)
    assert order == [0, 1, 2, 3, 4]
    assert len(part.admit(jobs(5, 1, key=b"a"))) == 1


def test_jobs_without_a_key_do_not_wait_for_each_other() -> None:
    assert len(partition().admit(jobs(0, 3))) == 3


def test_an_empty_key_is_a_key() -> None:
    assert len(partition().admit(jobs(0, 3, key=b""))) == 1


def test_nothing_finishes_on_a_lost_partition() -> None:
    part = partition()
    first, second = part.admit([Job(0, b"a"), Job(1, b"b"), Job(2, b"a")])
    part.lose()
    commit = part.offsets.commit()
    assert not part.finish(first)
    assert not part.finish(second)
    assert part.offsets.commit() == commit
    assert not part.offsets.dirty


@pytest.mark.parametrize("unfinished", [1, 5_000, 11_000])
@pytest.mark.parametrize("limit_jobs", [1, 833, 1_000_000])
def test_what_is_restored_is_no_load_before_it_is_read(limit_jobs: int, unfinished: int) -> None:
    """A worker with smaller limits than the one before it still comes to the end of what that one left."""
    before = partition(limit_jobs=1_000_000)
    lanes = before.admit(jobs(0, unfinished + 1))
    before.finish(lanes[-1])
    commit = before.offsets.commit()
    after = partition(limit_jobs, tracker=OffsetTracker(commit.watermark, commit.metadata))
    assert run_all(after, unfinished + 3000) == [*range(unfinished), *range(unfinished + 1, unfinished + 3000)]


def test_a_restored_map_without_room_is_still_worked_off() -> None:
    """What the map holds already costs it nothing to be read."""
    before = partition(limit_jobs=1_000_000)
    while not before.full:
        lanes = before.admit(jobs(before.offsets.next_offset, BATCH))
        for lane in lanes[1::2]:
            before.finish(lane)
        before.offsets.commit()
    end = before.offsets.next_offset
    commit = before.offsets.commit()
    after = partition(1_000_000, tracker=OffsetTracker(commit.watermark, commit.metadata))
    after.offsets.map_headroom = -1
    assert len(run_all(after, end + 100)) == before.offsets.pending + 100


def run_all(part: Jobs, end: int) -> list[int]:
    """Read when it may be read, finish what was read, commit; the offsets in the order in which they ran."""
    ran, closed = list[int](), False
    while part.offsets.next_offset < end:
        assert not closed, f"stuck at {part.offsets.next_offset} with {part.offsets.pending} pending"
        start = part.offsets.next_offset
        for lane in part.admit(jobs(start, min(BATCH, end - start))):
            ran.append(lane.head.offset)
            part.finish(lane)
        closed = part.full
        part.offsets.acknowledge(part.offsets.commit())
        closed = closed and not part.may_read_again
    assert part.offsets.pending == 0
    return ran
