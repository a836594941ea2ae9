"""Stops, crashes and handovers around jobs that take longer than everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as Place

from streams.core.offsets.tracker import OffsetTracker
from tests import topics
from tests.integration.conftest import Fleet
from tests.jobs.ordered import RELEASE
from tests.ledger import SECOND, Run
from tests.ledger_rules import inversions, lost, overlaps, repeats, unexplained
from tests.publishing import Steps
from tests.waiting import until
from tests.workers import Workers

Show = Callable[[str], None]

#: The shortest that a broker allows by default.
SESSION_SECONDS = 6
JOINED = "Joined group"


def test_a_clean_restart_under_load_repeats_and_loses_nothing(
    fleet: Fleet, kafka: str, namespace: str, show: Show
) -> None:
    workers = fleet("tests.jobs.ordered")
    workers.start(2)
    book = workers.ledger
    with Steps(kafka, namespace) as steps:
        slow = [steps.publish("slow", 2.0) for _ in range(3)]
        for number in range(4000):
            steps.publish(f"key-{number % 100}", 0.002 * (number % 7))
        steps.flush()
        until(lambda: slow[0] in book.started and len(book.done) > 1000, within=30, what="work is well under way")
        workers.stop()
        stopped = len(book.done)
        maps = _maps(workers)
        assert slow[0] in book.done, "the stop waits for running jobs"
        assert slow[2] not in book.started, "the stop starts no waiting jobs"
        for number in range(1000):
            steps.publish(f"key-{number % 100}", 0.001)
    show(f"{stopped:,} of {len(steps.ids):,} jobs done at the stop; {len(maps)} partitions with finished work beyond")
    assert maps, "nothing had finished beyond an unfinished job: the test proves less than it says"
    workers.start(2)
    workers.await_done(steps.ids, within=60)
    workers.stop()
    _check(workers, steps)
    assert not repeats(book.runs())


def test_a_job_much_longer_than_the_session(fleet: Fleet, kafka: str, namespace: str, show: Show) -> None:
    workers = fleet("tests.jobs.ordered", session_timeout=SESSION_SECONDS)
    (first,) = workers.start()
    joins = first.count(JOINED)
    with Steps(kafka, namespace) as steps:
        long = steps.publish("long", 16.0)
        _work_beside(workers, steps, long, seconds=SESSION_SECONDS + 2)
        assert first.count(JOINED) == joins, "a long job must not make the group rebalance"
        # However long that takes where others have the processors.
        until(lambda: _unfinished(workers, namespace) == {long}, within=20, what="all but the long job is committed")
        workers.kill(first)
        (second,) = workers.start()
        joins = second.count(JOINED)
        _work_beside(workers, steps, long, seconds=SESSION_SECONDS + 2)
        assert second.count(JOINED) == joins
        assert long not in workers.ledger.done
        second.stop()
        assert long in workers.ledger.done, "the stop waits for the long job"
        workers.start()
        steps.publish("long", 0.0)
    workers.await_done(steps.ids, within=20)
    workers.stop()
    runs = workers.ledger.runs()
    show(f"{len(steps.ids):,} jobs beside one of 16 s, which alone ran again")
    assert repeats(runs).keys() == {long}
    assert not unexplained(runs, workers.kills)
    _check(workers, steps)


def test_a_handover_of_running_jobs(fleet: Fleet, kafka: str, namespace: str, show: Show, tmp_path: Path) -> None:
    release = tmp_path / "release"
    workers = fleet("tests.jobs.ordered", handover_timeout=1, environment={RELEASE: str(release)})
    (first,) = workers.start()
    book = workers.ledger
    with Steps(kafka, namespace) as steps:
        running = {steps.publish(f"key-{number}", 60.0) for number in range(24)}
        for number in range(24):
            steps.publish(f"key-{number}", 0.01)
    until(lambda: running <= book.started, within=20, what="all slow jobs run")
    (second,) = workers.start()
    until(lambda: any(run.process == second.pid for run in book.runs()), within=30, what="the newcomer runs some")
    release.touch()
    workers.await_done(steps.ids, within=30)
    runs = book.runs()
    moved = repeats(runs)
    stayed = running - moved.keys()
    gaps = [_gap(*pair) for pair in moved.values() if len(pair) == 2]
    show(f"{len(stayed)} running jobs stayed, {len(moved)} moved; they started {min(gaps, default=0):.3f} to"
         f" {max(gaps, default=0):.3f} s after they were cancelled")  # fmt: skip
    assert stayed
    assert moved
    for earlier, later in moved.values():
        assert not earlier.done
        assert (earlier.process, later.process) == (first.pid, second.pid)
    _check(workers, steps)


def _gap(earlier: Run, later: Run) -> float:
    """Seconds between the end of a run and the start of the next; negative if they overlap."""
    return float("-inf") if earlier.end is None else (later.start - earlier.end) / SECOND


def _work_beside(workers: Workers, steps: Steps, long: str, *, seconds: float) -> None:
    """Keep other jobs coming until the long one has run for some time; they must not wait for it."""
    until(lambda: _since_start(workers, long) is not None, within=20, what="the long job runs")
    while (_since_start(workers, long) or 0) < seconds:
        batch = {steps.publish(f"key-{number}", 0.01 * number) for number in range(20)}
        workers.await_done(batch, within=5)


def _since_start(workers: Workers, job: str) -> float | None:
    """Seconds between a job's last start in a running worker and the newest entry; None if there is none."""
    entries = workers.ledger.entries()
    alive = {worker.pid for worker in workers.running}
    starts = [run.start for run in workers.ledger.runs() if run.job == job and run.process in alive]
    return (max(entry.at for entry in entries) - starts[-1]) / SECOND if starts else None


def _check(workers: Workers, steps: Steps) -> None:
    runs = workers.ledger.runs()
    assert not lost(steps.ids, runs)
    assert not inversions(runs)
    assert not overlaps(runs, workers.kills)


def _unfinished(workers: Workers, namespace: str) -> set[str]:
    """The jobs that a worker would be given which has nothing but what the group has committed."""
    held = {place.partition: OffsetTracker(at.offset, at.metadata) for place, at in _committed(workers).items()}
    records = topics.read_all(workers.bootstrap, f"{namespace}.ordered")
    left = [record for record in records if not _finished(held.get(record.partition), record.offset)]
    return {record.header("ce_id") or "" for record in left}


def _finished(held: OffsetTracker | None, offset: int) -> bool:
    return held is not None and held.is_finished(offset)


def _maps(workers: Workers) -> list[str]:
    """The finished-offset maps that the group has committed."""
    return [place.metadata for place in _committed(workers).values() if place.metadata]


def _committed(workers: Workers) -> dict[Place, OffsetAndMetadata]:
    """What the group has committed for its queue."""
    found = asyncio.run(_read_committed(workers))
    return {place: at for place, at in found.items() if place.topic.endswith(".ordered")}


async def _read_committed(workers: Workers) -> dict[Place, OffsetAndMetadata]:
    # confluent-kafka now and then reads metadata past its end, and fails on what it finds there.
    admin = AIOKafkaAdminClient(bootstrap_servers=workers.bootstrap)
    await admin.start()
    try:
        found: dict[Place, OffsetAndMetadata] = await admin.list_consumer_group_offsets(workers.group)
    finally:
        await admin.close()
    return found
