"""What the group holds is exactly what has finished: through a crash, a rebalance and a stop, on a real broker.

Each check runs twice: on the worker as it is, and on one into which a fault of Faust's own consumer was put back. The
second shows that the check finds the fault.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from tests import topics
from tests.integration.conftest import Fleet
from tests.ledger_rules import repeats
from tests.publishing import Steps
from tests.waiting import until
from tests.workers import Worker, Workers

#: Starts workers whose job module also puts a fault into them.
Faulty = Callable[..., Workers]

COMMITS_WITHOUT_METADATA = """
from streams.kafka.consumer.thread import ConsumerThread
commit_due = ConsumerThread.commit_due
ConsumerThread.commit_due = lambda self, due, generation, **_: commit_due(self, due, generation, with_map=False)
"""

COMMITS_PAST_RUNNING_JOBS = """
from streams.core.offsets.tracker import Commit, OffsetTracker
commit = OffsetTracker.commit
def past(self):
    true = commit(self)
    return Commit(max(true.watermark, self._high + 1), "", true.finished)
OffsetTracker.commit = past
"""

REVOCATION_THROWS_ACKS_AWAY = """
from streams.worker.assignment import Assignment
block_starts = Assignment.block_starts
def forget(self):
    block_starts(self)
    self.collect_commits = list
Assignment.block_starts = forget
"""

WAITS_WITHOUT_A_BOUND = """
from streams.worker.assignment import Assignment
async def wait(self, timeout):
    await self._all_quiet()
    return True
Assignment.quiet = wait
"""


@pytest.fixture
def faulty(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Faulty:
    """Workers of the ordered queue, with some source run in each before it starts."""

    def make(fault: str, **settings: object) -> Workers:
        (tmp_path / "with_fault.py").write_text(f"from tests.jobs.ordered import ordered\n{fault}")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return fleet("with_fault", **settings)

    return make


# -- a crash ----------------------------------------------------------------------------------------------------------


def test_a_crash_repeats_what_ran_and_nothing_else(faulty: Faulty, namespace: str) -> None:
    check_a_crash(faulty("", session_timeout=6), namespace)


def test_empty_metadata_is_found(faulty: Faulty, namespace: str) -> None:
    """Commit metadata is always "": what finished beyond a running job runs again."""
    with pytest.raises(AssertionError, match="Extra items in the left set"):
        check_a_crash(faulty(COMMITS_WITHOUT_METADATA, session_timeout=6), namespace)


def test_a_commit_past_a_running_job_is_found(faulty: Faulty, namespace: str) -> None:
    """`_new_offset` lets a later ack commit past a running offset: the job is lost in a crash."""
    with pytest.raises(TimeoutError, match="runs again"):
        check_a_crash(faulty(COMMITS_PAST_RUNNING_JOBS, session_timeout=6), namespace)


def check_a_crash(workers: Workers, namespace: str) -> None:
    (first,) = workers.start()
    with Steps(workers.bootstrap, namespace) as steps:
        slow = steps.publish("slow", 60.0)
        quick = {steps.publish(f"key-{number % 100}", 0.0) for number in range(600)}
        steps.flush()
        workers.await_done(quick, within=20)
        place = partition_of(workers, slow)
        until(lambda: covered(workers, but=place), within=10, what="the other partitions are committed")
        workers.kill(first)
        second = workers.launch()
        after = {steps.publish(f"key-{number}", 0.0) for number in range(100)}
        workers.await_done(after, within=40)
    until(lambda: ran_on(workers, second, slow), within=5, what="the job that ran at the crash runs again")
    assert repeats(workers.ledger.runs()).keys() == {slow}


def ran_on(workers: Workers, worker: Worker, job: str) -> bool:
    return any(run.job == job and run.process == worker.pid for run in workers.ledger.runs())


def partition_of(workers: Workers, job: str) -> int:
    """The partition of a job."""
    (record,) = [each for each in topics.read_all(workers.bootstrap, topic(workers)) if each.header("ce_id") == job]
    return record.partition


def topic(workers: Workers) -> str:
    return f"{workers.group.removesuffix('.default')}.ordered"


def covered(workers: Workers, *, but: int) -> bool:
    """Whether every other partition is committed up to its end."""
    ends: dict[int, int] = {}
    for record in topics.read_all(workers.bootstrap, topic(workers)):
        ends[record.partition] = record.offset + 1
    held = committed(workers)
    return all(held.get(partition) == end for partition, end in ends.items() if partition != but)


def committed(workers: Workers) -> dict[int, int]:
    admin = AdminClient({"bootstrap.servers": workers.bootstrap, "log_level": 0})
    request = [ConsumerGroupTopicPartitions(workers.group)]
    found = admin.list_consumer_group_offsets(request)[workers.group].result()
    queue = [partition for partition in found.topic_partitions if partition.topic == topic(workers)]
    return {partition.partition: partition.offset for partition in queue}


# -- a rebalance ------------------------------------------------------------------------------------------------------


def test_a_revocation_commits_what_has_finished(faulty: Faulty, namespace: str) -> None:
    check_a_revocation(faulty("", commit_interval=60), namespace)


def test_a_revocation_that_throws_acks_away_is_found(faulty: Faulty, namespace: str) -> None:
    """Revocation throws the acks away before the app waits and commits, so finished work runs again."""
    with pytest.raises(AssertionError, match="repeats"):
        check_a_revocation(faulty(REVOCATION_THROWS_ACKS_AWAY, commit_interval=60), namespace)


def check_a_revocation(workers: Workers, namespace: str) -> None:
    workers.start()
    with Steps(workers.bootstrap, namespace) as steps:
        quick = {steps.publish(f"key-{number % 100}", 0.0) for number in range(300)}
        workers.await_done(quick, within=20)
        # With so long an interval nothing is committed before the newcomer makes the group rebalance.
        assert not any(offset > 0 for offset in committed(workers).values())
        workers.start()
        after = {steps.publish(f"key-{number}", 0.0) for number in range(100)}
        workers.await_done(after, within=20)
    assert not repeats(workers.ledger.runs())
    workers.stop()


# -- a stop -----------------------------------------------------------------------------------------------------------


def test_a_stop_is_bounded_however_long_a_job_runs(faulty: Faulty, namespace: str) -> None:
    check_a_stop(faulty("", stop_timeout=1), namespace)


def test_a_stop_without_a_bound_is_found(faulty: Faulty, namespace: str) -> None:
    """`wait_empty` has no timeout: a worker whose agent holds an unacked event does not stop on SIGTERM."""
    with pytest.raises(TimeoutError, match="ended"):
        check_a_stop(faulty(WAITS_WITHOUT_A_BOUND, stop_timeout=1), namespace)


def check_a_stop(workers: Workers, namespace: str) -> None:
    (worker,) = workers.start()
    with Steps(workers.bootstrap, namespace) as steps:
        endless = steps.publish("endless", 600.0)
        quick = {steps.publish(f"key-{number}", 0.0) for number in range(100)}
        workers.await_done(quick, within=20)
    until(lambda: endless in workers.ledger.started, within=10, what="the long job runs")
    worker.terminate()
    assert worker.wait(within=12) == 0
    assert not repeats(workers.ledger.runs())
    assert covered(workers, but=partition_of(workers, endless)), "what had finished is committed by a stop"
    (cut,) = [run for run in workers.ledger.runs() if run.job == endless]
    assert cut.end is not None, "its handler was cancelled"
    assert not cut.done
    assert not cut.failed
