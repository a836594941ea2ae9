"""The crash records of a partition's two logs, taken together."""

from __future__ import annotations

import pytest

from streams.core.offsets.crash_record import StartMode
from streams.core.offsets.tracker import OffsetTracker
from streams.core.partition.crashes import PartitionCrashes
from streams.core.partition.lanes import Lane
from streams.core.partition.parked import ParkedLane
from streams.core.partition.parked_job import ParkedJob
from tests.unit.core.records import Job


def crashes(queue: str = "", retries: str = "") -> tuple[PartitionCrashes, OffsetTracker, OffsetTracker]:
    logs = OffsetTracker(10, queue), OffsetTracker(5, retries)
    found = PartitionCrashes(logs[0])
    found.add_retries(logs[1])
    return found, *logs


def acknowledge(*logs: OffsetTracker) -> None:
    for log in logs:
        log.acknowledge(log.commit())


def test_both_logs_are_claimed_and_released_and_a_commit_is_due_for_each() -> None:
    found, *logs = crashes()
    found.claim()
    assert all(log.dirty and log.crash_record.unreleased for log in logs)
    acknowledge(*logs)
    found.claim()
    assert not any(log.dirty for log in logs), "they are claimed already"
    found.release()
    assert all(log.dirty and not log.crash_record.unreleased for log in logs)


def test_what_a_dead_owner_may_have_been_running_is_suspected_in_each_log_up_to_its_end() -> None:
    found, queue, retries = crashes("~1@", "~1@")
    found.suspect_below(queue_end=100, retry_end=6, unknown=50)
    assert found.has_suspects
    assert [queue.crash_record.start_mode(offset) for offset in (59, 60)] == [StartMode.LIMITED, StartMode.FREE]
    assert [retries.crash_record.start_mode(offset) for offset in (5, 6)] == [StartMode.LIMITED, StartMode.FREE]


def test_nothing_of_a_released_partition_is_suspected() -> None:
    found, *_ = crashes("~0@", "~0@")
    found.suspect_below(100, 100, 50)
    assert not found.has_suspects


def test_there_are_suspects_until_the_last_one_is_finished_in_either_log() -> None:
    found, queue, retries = crashes("", "~1@")
    found.suspect_below(11, 6, 50)
    queue.read(10)
    retries.read(5)
    queue.finish(10)
    found.refresh()
    assert found.has_suspects
    retries.finish(5)
    found.refresh()
    assert not found.has_suspects


def test_what_was_known_before_is_taken_over() -> None:
    before, *_ = crashes("~1@")
    before.suspect_below(12, 5, 50)
    after, *_ = crashes()
    after.inherit(before.records)
    assert after.has_suspects


def test_a_job_is_named_in_the_log_that_holds_it() -> None:
    found, queue, retries = crashes()
    assert found.log_of(Lane(None, b"a", Job(10))) == (queue, 10)
    parked = ParkedLane(None, b"a", ParkedJob(Job(10), 10, retry_offset=5), 10)
    assert found.log_of(parked) == (retries, 5)
    with pytest.raises(RuntimeError, match="not open"):
        PartitionCrashes(queue).log_of(parked)
