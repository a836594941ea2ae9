"""Jobs that were deleted from a queue's log before a worker has read them (retention, or kafka-delete-records.sh)."""

from __future__ import annotations

import re

from tests.integration.conftest import Fleet
from tests.publishing import Steps
from tests.topics import forget
from tests.waiting import until
from tests.workers import Worker


def test_each_job_that_left_the_log_unread_is_told_of(fleet: Fleet, kafka: str, namespace: str) -> None:
    """While the worker holds as much as it may, and stands still: it reads on where the log begins now."""
    workers = fleet("tests.jobs.ordered")
    (worker,) = workers.start(buffer_jobs=24, concurrency=2)
    topic = f"{namespace}.ordered"
    with Steps(kafka, namespace) as steps:
        for number in range(60):
            steps.publish(f"key-{number}", 0.1, queue="ordered")
        steps.flush()
        until(lambda: steps.ids & workers.ledger.started, within=30, what="it is full")
        worker.freeze()
        for number in range(1200):
            steps.publish(f"key-{number % 60}", 0.0, queue="ordered")
    published = set(steps.ids)
    starts = forget(kafka, topic, but=5)
    worker.thaw()
    with Steps(kafka, namespace) as steps:
        for number in range(60):
            steps.publish(f"key-{number}", 0.0, queue="ordered")
    workers.await_done(steps.ids, within=60)
    workers.stop()
    gaps = told(worker, topic)
    lost = published - workers.ledger.started
    assert sorted(end + 1 for _, end in gaps) == sorted(starts.values()), "once a partition"
    assert sum(end - start + 1 for start, end in gaps) == len(lost) > 0


def told(worker: Worker, topic: str) -> list[tuple[int, int]]:
    """The first and the last offset of each gap that a worker has told of."""
    said = re.findall(rf"{re.escape(topic)}-\d+: offsets (\d+) to (\d+) have left the log", worker.output)
    return [(int(start), int(end)) for start, end in said]
