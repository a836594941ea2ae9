"""An owner of a partition of delayed jobs: what it does with what its log, its disk and its queues refuse."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import pytest

from producers.delayed.entries import Waiting, read_entry
from schemas.headers import MOVED_FROM, with_delay
from streams.ports.records import OutgoingRecord
from streams.ports.timers import RecordsRefused, Refused, TransactionFailed
from streams.timers.partition import HELD_MS
from tests.unit.timers.world import NAMESPACE, TOPIC, Cluster, ModelTransactions, Owner


class Picky(ModelTransactions):
    """Refuses whole transactions because of some jobs, as a broker refuses a batch: all jobs of it look guilty."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.never: set[bytes] = set()
        self.not_now: set[bytes] = set()

    def commit(self, partition: int, records: Sequence[OutgoingRecord]) -> int | None:
        jobs = [(at, dict(record.headers).get("ce_id")) for at, record in enumerate(records) if record.topic == "ns.q"]
        if any(job in self.never for _, job in jobs):
            raise RecordsRefused({at: Refused("too large", for_good=True) for at, _ in jobs})
        if found := {at: Refused("no topic", for_good=False) for at, job in jobs if job in self.not_now}:
            raise RecordsRefused(found)
        return super().commit(partition, records)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def owner(cluster: Cluster) -> Iterator[Owner]:
    made = Owner(cluster, None, b"me", transactions=Picky(cluster))
    yield made
    made.die()


def picky(owner: Owner) -> Picky:
    assert isinstance(owner.transactions, Picky)
    return owner.transactions


def serve(owner: Owner, times: int = 1) -> None:
    for _ in range(times):
        owner.read(1_000)
        owner.owner.step()


def test_of_a_batch_that_is_refused_only_the_guilty_job_is_a_dead_letter(cluster: Cluster, owner: Owner) -> None:
    picky(owner).never = {b"bad"}
    for job in (b"one", b"bad", b"two"):
        cluster.publish(job, 0)
    serve(owner, 3)
    assert {job: len(ends) for job, ends in cluster.went.items()} == {b"one": 1, b"bad": 1, b"two": 1}
    assert [record.topic for record in cluster.written if dict(record.headers).get("ce_id") == b"bad"] == ["ns.q.dead"]
    assert cluster.state() == {}


def test_a_job_whose_queue_is_not_there_waits_and_no_other_does(cluster: Cluster, owner: Owner) -> None:
    picky(owner).not_now = {b"later"}
    for job in (b"later", b"now"):
        cluster.publish(job, 0)
    serve(owner, 3)
    assert [*cluster.went] == [b"now"]
    picky(owner).not_now = set()
    cluster.now += HELD_MS + 1
    serve(owner)
    assert [*cluster.went] == [b"now", b"later"]


def test_a_record_that_is_none_does_not_end_the_job_of_its_key(cluster: Cluster, owner: Owner) -> None:
    """Though compaction leaves the last record of a key alone."""
    cluster.publish(b"a", 50_000)
    cluster.append(b"a", b"value", [("job-not-before", b"never")])
    serve(owner, 3)
    cluster.compact(tombstones=True)
    assert cluster.state() == {b"a": cluster.now + 50_000}
    assert [record.topic for record in cluster.written].count(f"{TOPIC}.dead") == 1
    successor = Owner(cluster, None, b"another", transactions=ModelTransactions(cluster))
    cluster.now += 50_000
    serve(successor, 3)
    successor.die()
    assert len(cluster.went[b"a"]) == 1


def test_a_job_that_was_moved_twice_goes_once(cluster: Cluster, owner: Owner) -> None:
    """Its worker has died between its writing and its commit; meanwhile it fell due."""
    headers = with_delay([("ce_id", b"a")], queue="q", key=None, due_ms=cluster.now)
    for _ in range(2):
        cluster.published.setdefault(b"a", []).append(
            cluster.append(b"a", b"value", [*headers, (MOVED_FROM, b"ns.q/0/7")])
        )
        serve(owner, 3)
    assert len(cluster.went[b"a"]) == 1
    assert cluster.state() == {}


def test_a_job_that_was_moved_before_its_failure_may_be_delayed_again(cluster: Cluster, owner: Owner) -> None:
    """By its dead letter's headers, which say where it was published, and not that it was moved from there."""
    cluster.append(b"a", b"value", with_delay([("job-origin", b"ns.q/0/7")], queue="q", key=None, due_ms=cluster.now))
    entry = read_entry(b"a", b"value", cluster.log[0].headers, NAMESPACE)
    assert isinstance(entry, Waiting)
    assert entry.job.moved_from is None


def test_a_file_that_is_damaged_is_told_of(cluster: Cluster, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(owner)
    assert owner.owner.damaged is None

    def damaged(*_: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(owner.store, "due", damaged)
    owner.owner.step()
    assert isinstance(owner.owner.damaged, sqlite3.DatabaseError)


def test_a_broker_that_is_away_is_asked_again(cluster: Cluster, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.publish(b"a", 0)

    def away(partition: int) -> None:
        raise TransactionFailed("no broker")

    with monkeypatch.context() as patch:
        patch.setattr(owner.transactions, "begin", away)
        serve(owner, 3)
    assert cluster.went == {}
    cluster.now += 1_000
    serve(owner, 2)
    assert len(cluster.went[b"a"]) == 1


def test_what_was_not_needed_and_is_needed_again_gets_no_tombstone(cluster: Cluster, owner: Owner) -> None:
    """A job is rescheduled, cancelled, published again and rescheduled before an owner has read any of it."""
    cluster.publish(b"a", 1_000)
    cluster.reschedule(b"a", 2_000)
    cluster.cancel(b"a")
    cluster.publish(b"a", 1_000)
    cluster.reschedule(b"a", 500_000)
    due = cluster.now + 500_000
    serve(owner, 3)
    cluster.compact(tombstones=True)
    assert cluster.state() == {b"a": due}


def test_a_job_under_the_id_of_one_that_was_moved_twice_is_not_lost(cluster: Cluster, owner: Owner) -> None:
    headers = with_delay([("ce_id", b"a")], queue="q", key=None, due_ms=cluster.now)
    moved = [*headers, (MOVED_FROM, b"ns.q/0/7@1")]
    cluster.published[b"a"] = [cluster.append(b"a", b"value", moved)]
    serve(owner, 3)
    cluster.append(b"a", b"value", moved)
    cluster.publish(b"a", 500_000)
    serve(owner, 3)
    cluster.compact(tombstones=True)
    assert [*cluster.state()] == [b"a"]
