"""Parking's rarer turns, one by one; test_parked_lanes_machine.py has the rest."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.offsets.commit_metadata import CommitMetadata
from streams.core.offsets.tracker import OffsetTracker
from streams.core.partition.capacity import ParkedBudget, size_of
from streams.core.partition.lanes import Lane
from streams.core.partition.parked import ParkedLane, ParkedLanes
from streams.core.partition.parked_job import ParkedJob
from streams.core.partition.restore import Written
from tests.unit.core.records import Job, Jobs


def partition(
    *,
    start: int = 0,
    limit_retries: int = 100,
    limit_retry_bytes: int = 10_000,
    ordered: bool = True,
    limit_bytes: int = 10_000,
    hold_ms: int = 0,
) -> Jobs:
    room = ParkedBudget(limit_retries, limit_retry_bytes)
    part = Jobs(
        OffsetTracker(start), limit_jobs=1000, limit_bytes=limit_bytes, budget=room, ordered=ordered, hold_ms=hold_ms
    )
    room.divide_among([part])
    return part


def known(entries: Iterable[ParkedJob[Job]], generation: int | None = None) -> list[tuple[ParkedJob[Job], Written]]:
    """Entries, and who has written them."""
    return [(entry, Written(generation)) for entry in entries]


def opened(part: Jobs, *entries: ParkedJob[Job], queue_end: int = 1_000_000) -> Jobs:
    """A partition that has loaded these from its retry log."""
    part.open_retries(OffsetTracker(0), len(entries))
    part.load(known(entries))
    part.start(queue_end)
    return part


def entries(*positions: int, key: bytes | None = b"a", due_ms: int = 5, size: int = 0) -> list[ParkedJob[Job]]:
    return [
        ParkedJob(Job(offset, key, bytes(size)), position, attempt=1, due_ms=due_ms, retry_offset=offset)
        for offset, position in enumerate(positions)
    ]


def write(part: Jobs, *writes: ParkedJob[Job]) -> None:
    assert part.retries
    for each in writes:
        part.wrote(each, part.retries.next_offset)


def is_full(part: Jobs) -> bool:
    return part.full


def may_read_again(part: Jobs) -> bool:
    return part.may_read_again


def is_loaded(part: Jobs) -> bool:
    return part.loaded


def due(part: Jobs) -> int | None:
    return part.next_due


def run(part: Jobs, now_ms: int) -> list[int]:
    """Run all that is due; the positions in their order."""
    ran = []
    for line in part.ready(now_ms):
        ran.append(line.entry.queue_offset)
        while part.finish(line):
            ran.append(line.entry.queue_offset)
    return ran


# -- one key ----------------------------------------------------------------------------------------------------------


def test_a_key_is_parked_until_its_line_is_empty() -> None:
    part = opened(partition())
    (lane,) = part.admit([Job(0, b"a"), Job(1, b"a")])
    head, waiting = part.postpone(lane, 1, 50)
    assert (head.attempt, head.due_ms, head.untried) == (1, 50, False)
    assert (waiting.attempt, waiting.due_ms, waiting.untried) == (0, 0, True)
    assert part.writing == 2
    assert part.admit([Job(2, b"a"), Job(3, b"b")])[0].head.key == b"b"
    (late,) = part.take_diverted()
    assert part.take_diverted() == []
    assert due(part) is None
    write(part, head, waiting, late)
    assert (part.writing, due(part)) == (0, 50)
    assert run(part, 49) == []
    assert run(part, 50) == [0, 1, 2]
    (lane,) = part.admit([Job(4, b"a")])
    assert lane.entry is None


def test_a_lane_tells_what_its_head_is() -> None:
    part = opened(partition(), *entries(0))
    part.admit([Job(0, b"a"), Job(1, b"b")])
    (line,) = part.ready(5)
    assert line.entry is not None
    assert (line.head.offset, line.entry.attempt, line.entry.due_ms) == (0, 1, 5)


def test_a_job_that_is_due_at_the_beginning_of_time_counts_as_tried() -> None:
    part = opened(partition())
    (lane,) = part.admit([Job(0, b"a")])
    (head,) = part.postpone(lane, 0, 0)
    assert not head.untried


def test_only_the_head_is_written_again() -> None:
    part = opened(partition(), *entries(0, 1, 2))
    part.admit([Job(3, b"b")])
    (line,) = part.ready(5)
    assert [each.queue_offset for each in part.postpone(line, 2, 70)] == [0]
    assert due(part) is None
    write(part, line.entry)
    assert due(part) == 70
    assert run(part, 70) == [0]
    assert run(part, 70) == [1]


@given(
    positions=st.lists(st.integers(0, 400), unique=True, min_size=1, max_size=200),
    takes=st.lists(st.integers(0, 3), max_size=200),
)
def test_a_line_is_a_sorted_list(positions: list[int], takes: list[int]) -> None:
    """Whatever is inserted where, and however much is taken in between."""
    first, *others = entries(*positions)
    line: ParkedLane[Job, None] = ParkedLane(None, b"a", first, first.queue_offset)
    model = [first.queue_offset]
    for index, entry in enumerate(others):
        line.insert(entry)
        model = sorted([*model, entry.queue_offset])
        for _ in range(takes[index] if index < len(takes) else 0):
            assert line.take() == (len(model) > 1)
            model = model[1:] or model
        assert line.entry.queue_offset == model[0]
        assert line.head is line.entry.record
        assert len(line) == len(model)
    assert [each for each in range(-1, 402) if line.contains(each)] == model
    while line.take():
        model.pop(0)
        assert line.entry.queue_offset == model[0]
    assert len(model) == 1


def test_a_head_that_was_overtaken_twice_is_handed_out_once() -> None:
    """It waits for the queue to be read on, and an earlier job of its key comes, runs, and leaves it waiting again."""
    part = opened(partition(), *entries(7))
    part.admit([Job(3, b"a")])
    write(part, *part.take_diverted())
    assert run(part, 5) == [3]
    part.admit([Job(8, b"b")])
    (line,) = part.ready(5)
    assert line.entry.queue_offset == 7
    assert part.ready(5) == []
    assert due(part) is None
    assert not part.finish(line)
    assert due(part) is None


def test_what_was_taken_does_not_stay_in_memory() -> None:
    """A key with very many jobs behind it is drained in order, and cheaply."""
    first, *others = entries(*range(10_000))
    line: ParkedLane[Job, None] = ParkedLane(None, b"a", first, 0)
    for entry in others:
        line.insert(entry)
    while line.take():
        assert line._behind is not None
        assert line._taken * 8 <= len(line._behind) + 1 or line._taken < 32


# -- jobs that are lines of their own ---------------------------------------------------------------------------------


def test_without_an_order_a_failing_job_holds_back_nobody() -> None:
    part = opened(partition(ordered=False))
    lanes = part.admit([Job(0, b"a"), Job(1, b"a"), Job(2, b"a")])
    assert [lane.head.offset for lane in lanes] == [0, 1, 2]
    assert len(part.postpone(lanes[0], 1, 50)) == 1
    assert [lane.head.offset for lane in part.admit([Job(3, b"a")])] == [3]
    assert part.take_diverted() == []
    assert not part.finish(lanes[1])


@pytest.mark.parametrize(("key", "ordered"), [(None, True), (b"a", False)])
def test_a_lone_job_is_known_by_its_position(key: bytes | None, ordered: bool) -> None:
    part = opened(partition(ordered=ordered), *entries(1, 3, key=key))
    lanes = part.admit([Job(offset, key) for offset in range(4)])
    assert [lane.head.offset for lane in lanes] == [0, 2]
    assert part.offsets.pending == 2
    assert run(part, 5) == [1, 3]


# -- assignment -------------------------------------------------------------------------------------------------------


def test_nothing_is_admitted_before_the_retry_log_was_read() -> None:
    part = partition()
    part.open_retries(OffsetTracker(0), 2)
    assert not is_loaded(part)
    with pytest.raises(RuntimeError, match="retry log"):
        part.admit([Job(0)])
    part.load(known(entries(0)[:1]))
    with pytest.raises(RuntimeError, match="read to its end"):
        part.start(10)
    part.load([], read_to=2)
    assert is_loaded(part)
    with pytest.raises(RuntimeError, match="retry log"):
        part.admit([Job(0)])
    assert part.ready(1000) == []
    part.start(10)
    part.admit([Job(0)])
    with pytest.raises(RuntimeError, match="assignment"):
        part.load(known(entries(0)))


def test_without_a_retry_partition_it_is_as_it_was() -> None:
    part = partition()
    assert is_loaded(part)
    (lane,) = part.admit([Job(0)])
    with pytest.raises(RuntimeError, match="no retry partition"):
        part.postpone(lane, 1, 5)
    part.finish(lane)
    assert part.offsets.pending == 0


def test_what_was_finished_in_the_retry_log_is_not_loaded() -> None:
    before = OffsetTracker(0)
    before.read_all([0, 1, 2])
    before.finish(1)
    commit = before.commit()
    part = partition()
    part.open_retries(OffsetTracker(commit.watermark, commit.metadata), 3)
    part.load(known(entries(5, 6, 7)))
    part.start(10)
    part.admit([Job(9, b"b")])
    assert run(part, 5) == [5]
    assert run(part, 5) == [7]


@pytest.mark.parametrize("attempts", [(1, 2), (2, 1), (1, 1)])
def test_of_two_records_of_a_job_the_later_counts(attempts: tuple[int, int]) -> None:
    first, second = entries(4, 4)
    first.attempt, second.attempt = attempts
    part = opened(partition(), first, second)
    assert part.retries
    assert part.retries.pending == 1
    assert part.retries.dirty
    part.admit([Job(5, b"b")])
    (line,) = part.ready(5)
    assert line.entry is (first if attempts[0] > attempts[1] else second)


def test_jobs_of_a_log_that_is_gone_run_at_once_and_stand_for_no_job_of_the_new_one() -> None:
    """The queue's topic was made anew and its retry topic was not."""
    part = opened(partition(), *entries(100, 101), queue_end=1)
    write(part, *part.take_diverted())
    assert run(part, 5) == [-2]
    assert run(part, 5) == [-1]
    part = opened(partition(), *entries(100, 101), queue_end=1)
    assert part.admit([Job(0, b"a")]) == []
    assert part.admit([Job(100, b"a")]) == []
    late = part.take_diverted()
    assert [each.queue_offset for each in late] == [-2, -1, 0, 100]
    write(part, *late)
    assert run(part, 5) == [-2]
    assert run(part, 5) == [-1, 0, 100]


def test_what_is_of_a_log_that_is_gone_says_so_in_the_log_from_then_on() -> None:
    """A position of the old log may be one that the new log has, too."""
    part = opened(partition(), *entries(10), queue_end=0)
    (moved,) = part.take_diverted()
    assert moved.queue_offset < 0
    assert part.ready(5) == [], "not before the broker has it under that position"
    assert part.writing == 1
    part.wrote(moved, 1)
    assert part.retries
    assert part.retries.watermark == 1, "its old record is finished"
    part.admit([Job(offset, b"a") for offset in range(20)])
    assert [entry.queue_offset for entry in part.take_diverted()] == [*range(20)], "the new log's job 10 is another one"


def test_logs_that_are_gone_do_not_mix() -> None:
    """The topic was made anew twice: what was moved below 0 keeps a position of its own, and jobs that can wait do."""
    part = opened(partition(), *entries(-1, -2, 7, 8, 1), queue_end=5)
    write(part, *part.take_diverted())
    ran = []
    while due(part) is not None:
        ran += run(part, 5)
    assert len(set(ran)) == len(ran) == 4
    part.admit([Job(4, b"b")])
    assert run(part, 5) == [1]


def test_records_of_two_keys_at_one_position_are_two_jobs() -> None:
    (one,) = entries(100)
    other = ParkedJob(Job(1, b"b"), 100, attempt=1, due_ms=5, retry_offset=1)
    part = opened(partition(), one, other, queue_end=1)
    write(part, *part.take_diverted())
    assert len(part.ready(5)) == 2


# -- what fits in -----------------------------------------------------------------------------------------------------


def test_too_many_retries_make_a_partition_full() -> None:
    part = opened(partition(limit_retries=8), *entries(*range(8), key=None))
    part.admit([Job(8, b"b")])
    assert is_full(part)
    lines = part.ready(5)
    assert not may_read_again(part)
    part.finish(lines[0])
    assert may_read_again(part), "the next batch makes up for many jobs that end"


def test_too_many_bytes_of_retries_make_a_partition_full() -> None:
    part = opened(partition(limit_retry_bytes=1000), *entries(*range(10), key=None, size=100))
    part.admit([Job(10, b"b")])
    assert is_full(part)
    for line in part.ready(5)[:3]:
        part.finish(line)
    assert may_read_again(part)


def test_a_full_partition_reads_on_for_those_that_wait_for_it() -> None:
    """More is parked than fits in, and none of it may run before the queue was read past it."""
    part = opened(partition(limit_retries=4), *entries(*range(8)))
    assert may_read_again(part)
    assert not is_full(part)
    part.admit([Job(offset, b"a") for offset in range(8)])
    assert is_full(part)
    assert run(part, 5) == [0]


def test_a_partition_may_park_what_others_leave_and_always_its_share() -> None:
    hot, small = partition(), partition()
    room = hot.budget = small.budget = ParkedBudget(16)
    room.divide_among([hot, small])
    opened(hot, *entries(*range(11), key=None)).admit([Job(11, b"b")])
    opened(small).admit([Job(0, b"b")])
    assert not is_full(hot), "more than its share, and less than all"
    late = partition()
    late.budget = room
    room.divide_among([hot, late])
    opened(late, *entries(*range(7), key=None)).admit([Job(7, b"b")])
    assert is_full(hot)
    assert not is_full(late), "less than its share, though all together are too many"
    for line in late.ready(5):
        late.finish(line)
    assert may_read_again(hot), "the other has made room"


def test_bytes_move_with_their_jobs() -> None:
    """What is on its way to the retry log still counts as the queue's, what is there does not, and nothing is left."""
    part = opened(partition(limit_bytes=200, limit_retry_bytes=400))
    (lane,) = part.admit([Job(0, b"a", bytes(100)), Job(1, b"a", bytes(100))])
    writes = part.postpone(lane, 1, 5)
    assert is_full(part)
    write(part, *writes)
    assert may_read_again(part)
    part.admit([Job(2, b"a", bytes(200))])
    assert is_full(part)
    write(part, *part.take_diverted())
    assert is_full(part)
    assert run(part, 5) == [0, 1, 2]
    assert (part._bytes, part.parked_bytes) == (0, 0)


@pytest.mark.parametrize("seen", [True, False])
def test_keys_and_headers_of_parked_jobs_count_too(seen: bool) -> None:
    """Large headers as well, whether the queue's sample has seen that there are some or not."""
    part = opened(partition(limit_bytes=1_000_000, limit_retry_bytes=3500))
    large = (("trace", bytes(3000)),)
    batch = [Job(0, b"a" * 100, None, large if seen else ()), Job(1, b"a" * 100, bytes(300), large)]
    (lane,) = part.admit(batch)
    other = Job(2, b"b", None, large if seen else ())
    part.admit([other])
    writes = part.postpone(lane, 1, 5)
    assert part._bytes == size_of(batch[0]) + size_of(batch[1]) + size_of(other)
    write(part, *writes)
    assert part.parked_bytes == size_of(batch[0]) + size_of(batch[1])
    assert is_full(part)
    part.admit([Job(3, b"a" * 100, None, large)])
    write(part, *part.take_diverted())
    assert run(part, 5) == [0, 1, 3]
    assert part.parked_bytes == 0
    assert part._bytes == size_of(other)


def test_the_map_of_a_full_partition_fits_in_whatever_order_its_retries_finish() -> None:
    """A clean stop would repeat what the map leaves out."""
    chance = random.Random(7)
    part = opened(partition(limit_retries=1_000_000, limit_retry_bytes=1_000_000, limit_bytes=1_000_000))
    retries, read = part.retries, 0
    assert retries
    while not is_full(part):
        lanes = part.admit([Job(offset, b"%d" % offset) for offset in range(read, read + 100)])
        read += 100
        for lane in lanes:
            write(part, *part.postpone(lane, 1, 5))
        retries.acknowledge(retries.commit())
    assert read > 5_000, "it is no more cautious than it has to be"
    lines = part.ready(5)
    chance.shuffle(lines)
    done = set()
    for number, line in enumerate(lines):
        assert line.entry is not None
        done.add(line.entry.retry_offset)
        part.finish(line)
        if number % 500 == 0:
            commit = retries.commit()
            again = OffsetTracker(commit.watermark, commit.metadata)
            assert not [offset for offset in done if again.read(offset)], "what is finished is not read again"
    retries.commit()
    assert may_read_again(part)


def test_a_partition_whose_map_was_full_reads_on_when_there_is_room() -> None:
    part = opened(partition(limit_retries=1_000_000, limit_retry_bytes=1_000_000), *entries(*range(20_000), key=None))
    part.admit([Job(20_000, b"b")])
    assert is_full(part)
    lines = part.ready(5)
    for line in lines[:5_000]:
        part.finish(line)
    assert part.retries
    part.retries.commit()
    assert not may_read_again(part)
    for line in lines[5_000:15_000]:
        part.finish(line)
    part.retries.commit()
    assert may_read_again(part)


def test_a_hundred_thousand_jobs_of_one_key_are_a_few_runs() -> None:
    """The worst case of the queue's own map would have called this too much long before."""
    part = opened(partition(limit_retries=1_000_000, limit_retry_bytes=1_000_000), *entries(*range(100_000)))
    part.admit([Job(100_000, b"b")])
    (line,) = part.ready(5)
    for _ in range(50):
        assert part.retries
        write(part, *part.postpone(line, 1, 5))
        part.ready(5)
        part.retries.commit()
    assert part.retries
    assert len(part.retries.commit().metadata) < 100
    assert part.retries.map_headroom < 0
    assert not is_full(part)


# -- a partition that is lost -----------------------------------------------------------------------------------------


def test_a_partition_that_is_lost_while_it_loads_does_nothing() -> None:
    part = partition()
    part.open_retries(OffsetTracker(0), 2)
    part.load(known(entries(4, 5)[:1]))
    part.lose()
    part.start(10)
    part.load(known(entries(4, 5)[1:]))
    assert part.retries
    assert part.retries.next_offset == 1
    assert part.admit([Job(0)]) == []
    assert part.ready(1000) == []


def test_what_a_lost_partition_has_diverted_is_not_written() -> None:
    part = opened(partition(), *entries(0))
    part.admit([Job(1, b"a")])
    part.lose()
    assert part.take_diverted() == []


def test_a_lost_partition_does_nothing() -> None:
    part = opened(partition(), *entries(0))
    lanes: list[Lane[Job, Jobs]] = part.admit([Job(1, b"b"), Job(2, b"c")])
    (late,) = part.postpone(lanes[1], 1, 5)
    part.lose()
    before = part.offsets.commit()
    assert due(part) is None
    assert part.ready(1000) == []
    assert part.admit([Job(3)]) == []
    assert part.postpone(lanes[0], 1, 5) == []
    part.wrote(late, 7)
    assert part.offsets.commit() == before
    assert part.offsets.next_offset == 3


def test_a_record_that_names_another_log_stands_for_no_job_of_this_one() -> None:
    """Whatever its position; and of two such logs with one position and key, both jobs run, the older log's first."""
    log = "n" * 22
    part = Jobs(OffsetTracker(0, CommitMetadata(log=log).text(0)), limit_jobs=10, limit_bytes=1000)
    part.open_retries(OffsetTracker(0), 3)
    logs = ("a" * 22, "b" * 22, log)
    part.load(
        [
            (ParkedJob(Job(0, b"k"), 4, attempt=1, due_ms=1, retry_offset=at), Written(0, of))
            for at, of in enumerate(logs)
        ]
    )
    part.start(100)
    assert part.take_diverted() == [], "their records say all that is to be known"
    assert part.parked == 3
    part.admit([Job(5)])
    ran = []
    for _ in logs:
        (line,) = part.ready(1)
        ran.append(line.entry.retry_offset)
        part.finish(line)
    assert ran == [0, 1, 2]


OURS, GONE = "o" * 22, "g" * 22


def reopened(*written: tuple[int, int, str], ends: int = 100, anew: bool = False) -> Jobs:
    """A partition of the log OURS whose retry log holds jobs of a key: position, attempts and log of each record."""
    part = Jobs(OffsetTracker(0, CommitMetadata(log=OURS).text(0)), limit_jobs=10, limit_bytes=1000)
    part.open_retries(OffsetTracker(0), len(written))
    loaded = [(ParkedJob(Job(0, b"k"), position, attempt=attempt, due_ms=1, retry_offset=at), Written(0, log))
              for at, (position, attempt, log) in enumerate(written)]  # fmt: skip
    part.load(loaded)
    part.start(ends, anew=anew)
    return part


def test_two_records_of_a_job_of_a_log_that_is_gone_stand_for_one() -> None:
    """Its owner had tried it again, and died before it could commit that the first record is finished."""
    part = reopened((7, 0, GONE), (8, 0, GONE), (7, 1, GONE))
    assert part.parked == 2
    part.admit([Job(9)])
    (line,) = part.ready(1)
    assert (line.entry.attempt, line.entry.stated_offset, line.entry.log) == (1, 7, GONE), (
        "as it is to be written again"
    )
    assert len(line) == 2


def test_what_was_parked_of_a_log_stays_its_own_although_nothing_was_committed_for_it() -> None:
    """The broker forgets what is committed for a topic that is deleted: all that it says is that there was another."""
    part = reopened((-3, 1, ""), (5, 0, OURS), (6, 0, ""), anew=True)
    assert [entry.retry_offset for entry in part.take_diverted()] == [2], "of this one nobody knows"
    part.admit([Job(5, b"k"), Job(6, b"k")])
    assert [entry.queue_offset for entry in part.take_diverted()] == [6], "the other one is known"
    assert part.queue_seen == 0


def test_what_the_queue_has_lost_is_written_again_lest_another_job_gets_there() -> None:
    part = reopened((5, 0, OURS), ends=5)
    (entry,) = part.take_diverted()
    assert (entry.queue_offset < 0, entry.log) == (True, "")


def test_how_far_the_queue_was_read_is_known_by_what_is_parked_of_its_log() -> None:
    part = Jobs(OffsetTracker(0, CommitMetadata(log=OURS).text(0)), limit_jobs=10, limit_bytes=1000)
    part.open_retries(OffsetTracker(0), 3)
    part.load([(ParkedJob(Job(0), at, retry_offset=at), Written(0, log)) for at, log in enumerate((OURS, OURS, GONE))])
    assert part.queue_seen == 2


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.booleans()), max_size=60))
def test_the_longest_lane_is_known(steps: list[tuple[bytes, bool]]) -> None:
    lanes = ParkedLanes[Job, Jobs](partition(), ordered=True)
    for offset, (key, comes) in enumerate(steps):
        lane = lanes.find(key, offset)
        if comes:
            (entry,) = entries(offset, key=key)
            lanes.add(key, entry)
        elif lane is not None:
            lanes.leave(lane)
        assert lanes.longest == max(map(len, lanes.lanes.values()), default=0)


# -- memory -----------------------------------------------------------------------------------------------------------


def packing(*, budget: ParkedBudget | None = None) -> tuple[Jobs, list[tuple[int, bytes | None]]]:
    """A partition, and what it has had packed: offsets, and the key that is there already."""
    packed: list[tuple[int, bytes | None]] = []

    def pack(record: Job, key: bytes | None) -> Job:
        packed.append((record.offset, key))
        return Job(record.offset, record.key, record.value)

    return Jobs(OffsetTracker(0), limit_jobs=1000, limit_bytes=10_000, budget=budget, pack=pack), packed


def test_what_the_retry_log_holds_is_packed_once() -> None:
    part, packed = packing()
    opened(part)
    (lane,) = part.admit([Job(0, b"a"), Job(1, b"a")])
    head, behind = part.postpone(lane, 1, 5)
    part.admit([Job(2, b"a")])
    (diverted,) = part.take_diverted()
    assert not packed, "none of it is acknowledged"
    before = diverted.record
    write(part, head, behind, diverted)
    assert packed == [(0, b"a"), (1, b"a"), (2, b"a")]
    assert all(key is before_key for (_, key), before_key in zip(packed, [lane.key] * 3, strict=True))
    assert diverted.record is not before
    (parked,) = part.ready(5)
    assert parked.head is head.record, "a head that was not packed would run, and stay in memory beside"
    part.postpone(parked, 2, 10)
    write(part, head)
    assert len(packed) == 3, "it is packed already"


def test_what_is_loaded_is_packed() -> None:
    part, packed = packing()
    opened(part, *entries(0, 1, 2))
    assert [offset for offset, _ in packed] == [0, 1, 2]
    part.admit([Job(3)])
    (parked,) = part.ready(5)
    assert parked.head is parked.entry.record


# -- what comes back soon ---------------------------------------------------------------------------------------------


def hot(part: Jobs, jobs: int, *, wait: int = 5) -> ParkedLane[Job, Jobs]:
    """A key of which the first job has failed with others behind it; its lane once it is due. Nothing was written."""
    opened(part)
    (lane,) = part.admit([Job(offset, b"a") for offset in range(jobs)])
    assert part.postpone(lane, 1, 100 + wait, 100, WHY) == []
    assert part.next_due == 100 + wait
    assert part.ready(99 + wait) == []
    (parked,) = part.ready(100 + wait)
    return parked


WHY = ("ValueError", "no")


def written(entries: Sequence[ParkedJob[Job]]) -> list[tuple[int, int]]:
    """The queue offsets and attempts of what is to be written."""
    return [(each.queue_offset, each.attempt) for each in entries]


def test_what_comes_back_soon_is_held_and_so_is_what_waits_behind_it() -> None:
    part = partition(hold_ms=10)
    parked = hot(part, 3)
    assert parked.entry.attempt == 1
    assert part.admit([Job(3, b"a"), Job(4, b"b")])
    assert part.take_diverted() == []
    assert (part.offsets.watermark, part.writing) == (0, 0)
    order = []
    while True:
        order.append(parked.head.offset)
        if not part.finish(parked):
            break
    assert order == [0, 1, 2, 3]
    assert part.retries is not None
    assert (part.offsets.watermark, part.retries.end, part.parked_bytes) == (4, 0, 0)


def test_what_comes_back_late_is_written_and_so_is_what_waits_behind_it() -> None:
    part = partition(hold_ms=10)
    parked = hot(part, 3)
    writes = part.postpone(parked, 2, 1_000, 105, WHY)
    assert written(writes) == [(0, 2), (1, 0), (2, 0)]
    assert part.admit([Job(3, b"a")]) == []
    assert written(part.take_diverted()) == [(3, 0)]
    write(part, *writes)
    assert part.offsets.watermark == 3


def test_a_job_that_fails_again_and_again_is_held_no_longer() -> None:
    """The queue's log would be read again from it on."""
    part = partition(hold_ms=10)
    parked = hot(part, 2)
    for now in (105, 107):
        assert part.postpone(parked, 2, now + 3, now, WHY) == []
        (parked,) = part.ready(now + 3)
    writes = part.postpone(parked, 3, 114, 111, WHY)
    assert written(writes) == [(0, 3), (1, 0)]


def test_what_was_written_once_is_written_at_each_failure() -> None:
    part = partition(hold_ms=10)
    opened(part)
    (lane,) = part.admit([Job(0, b"a")])
    write(part, *part.postpone(lane, 1, 1_000, 100, WHY))
    (parked,) = part.ready(1_000)
    assert written(part.postpone(parked, 2, 1_001, 1_000, WHY)) == [(0, 2)]


def test_a_held_job_that_fails_too_is_held_by_itself() -> None:
    part = partition(hold_ms=10)
    parked = hot(part, 3)
    assert part.finish(parked)
    assert part.crashes.log_of(parked) == (part.offsets, 1)
    assert part.postpone(parked, 1, 115, 106, WHY) == []
    assert part.offsets.watermark == 1
    (parked,) = part.ready(115)
    assert part.finish(parked)
    assert not part.finish(parked)
    assert part.offsets.watermark == 3


def test_a_partition_that_holds_much_writes_it() -> None:
    part = partition(hold_ms=10)
    parked = hot(part, 2)
    assert part.admit([Job(offset, b"a") for offset in range(2, 252)]) == []
    assert [each.queue_offset for each in part.take_diverted()] == [*range(1, 252)]
    assert part.admit([Job(252, b"a")]) == []
    assert [each.queue_offset for each in part.take_diverted()] == [252], "until it is postponed again"
    assert parked.entry.queue_offset == 0, "its head may be running: that is never written"


def test_a_full_partition_holds_nothing_that_waits() -> None:
    part = partition(hold_ms=10, limit_bytes=200)
    parked = hot(part, 2)
    assert part.postpone(parked, 2, 107, 105, WHY) == []
    part.admit([Job(2, b"b", bytes(200))])
    assert is_full(part)
    diverted = part.take_diverted()
    assert written(diverted) == [(0, 2), (1, 0)]
    assert part.ready(200) == [], "it waits until it is written"
    write(part, *diverted)
    assert [lane.entry.attempt for lane in part.ready(200)] == [2]


def test_what_comes_before_a_loaded_head_is_written_and_runs_first() -> None:
    """It was held at its former owner, whose log of what it had written ends behind it."""
    part = partition(hold_ms=1_000, start=15)
    first, last = ParkedJob(Job(0, b"a"), 10, attempt=1, due_ms=1, retry_offset=0), entries(20)[0]
    last.due_ms, last.retry_offset = 0, 1
    opened(part, first, last)
    (lane,) = part.ready(100)
    write(part, *part.postpone(lane, 2, 600, 100, WHY))
    (lane,) = part.ready(600)
    assert not part.finish(lane), "the queue was not read past the next one"
    assert part.admit([Job(15, b"a")]) == []
    write(part, *part.take_diverted())
    (lane,) = part.ready(600)
    assert lane.entry.queue_offset == 15
    assert not part.finish(lane)
    assert part.admit([Job(20, b"a")]) == []
    assert [lane.entry.queue_offset for lane in part.ready(600)] == [20]


def test_a_partition_that_is_full_holds_no_job_that_fails() -> None:
    """It is to be read on, although each job of its only key comes back soon."""
    part = opened(partition(hold_ms=1_000, limit_retries=10_000, limit_retry_bytes=10**9))
    (lane,) = part.admit([Job(offset, b"a") for offset in range(1000)])
    assert is_full(part)
    writes = part.postpone(lane, 1, 200, 100, WHY)
    assert len(writes) == 1000
    write(part, *writes)
    assert part.may_read_again


def test_before_a_partition_may_leave_what_has_failed_is_written_wherever_it_waits() -> None:
    part = partition(hold_ms=10)
    opened(part)
    waiting, ready, running = part.admit([Job(0, b"a"), Job(1, b"b"), Job(2, b"c"), Job(3, b"a")])
    for lane, due in ((waiting, 110), (ready, 105), (running, 105)):
        assert part.postpone(lane, 1, due, 100, WHY) == []
    handed_out = {lane.head.offset: lane for lane in part.ready(105)}
    entries = part.stop_holding({handed_out[1]})
    assert written(entries) == [(0, 1), (1, 1)], "and not what waits behind, nor what runs"
    assert [each.failure for each in entries] == [WHY, WHY]
    assert part.ready(200) == [], "it waits until it is written"
    assert written(part.postpone(handed_out[2], 2, 106, 105, WHY)) == [(2, 2)]
    write(part, *entries)
    assert {lane.head.offset for lane in part.ready(200)} == {0, 1}
    part.hold_again()
    (lane,) = part.admit([Job(4, b"d")])
    assert part.postpone(lane, 1, 205, 200, WHY) == []
