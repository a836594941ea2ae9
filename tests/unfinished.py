"""What a group's commits do not call finished, past the system under test."""

from __future__ import annotations

from producers.cluster import Cluster
from streams.core.offsets.tracker import OffsetTracker
from streams.dead.handled.group_offsets import read_committed
from tests.topics import partitions, read_all


def unfinished(bootstrap: str, group: str, topic: str) -> set[str]:
    """The jobs of a queue's topic that the group's commits do not call finished: a worker that starts now would run
    them."""
    trackers = _trackers(bootstrap, group, topic)
    return {
        record.header("ce_id") or ""
        for record in read_all(bootstrap, topic)
        if trackers[record.partition].read(record.offset)
    }


def finished_beyond(bootstrap: str, group: str, topic: str) -> set[str]:
    """The jobs of a queue's topic that the group's commits call finished although an earlier one is not: what the maps
    in them say."""
    trackers = _trackers(bootstrap, group, topic)
    starts = {number: tracker.next_offset for number, tracker in trackers.items()}
    return {
        record.header("ce_id") or ""
        for record in read_all(bootstrap, topic)
        if record.offset >= starts[record.partition] and not trackers[record.partition].read(record.offset)
    }


def suspicious(bootstrap: str, group: str, topic: str) -> bool:
    """Whether the next owner of any partition of a queue's topic would suspect the jobs that the last has run."""
    return any(tracker.crash_record.unreleased for tracker in _trackers(bootstrap, group, topic).values())


def _trackers(bootstrap: str, group: str, topic: str) -> dict[int, OffsetTracker]:
    numbers = range(partitions(bootstrap, topic))
    held = read_committed(Cluster(bootstrap_servers=bootstrap), group, topic, numbers, patience=10)
    return {number: OffsetTracker(max(0, place.offset), place.metadata) for number, place in held.items()}
