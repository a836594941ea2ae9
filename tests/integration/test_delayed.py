"""Delayed jobs on a real broker: each runs once and not too soon, whatever becomes of its worker."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from producers import DelayedJobs, JobProducer, NotWaiting, ProducerSettings
from streams.kafka.timers.transactions import KafkaTransactions
from streams.ports.records import OutgoingRecord
from streams.ports.timers import RecordsRefused, TransactionFailed
from tests.integration.conftest import Fleet
from tests.models.ordered import Step
from tests.topics import publish_raw, read_committed, set_config
from tests.waiting import until

STEP = Step(seq=0, seconds=0.0)


@pytest.fixture
def settings(kafka: str, namespace: str) -> ProducerSettings:
    """Of producers of this test's namespace."""
    return ProducerSettings(bootstrap_servers=kafka, namespace=namespace)


def test_delayed_jobs_run_when_they_fall_due(fleet: Fleet, settings: ProducerSettings) -> None:
    workers = fleet("tests.jobs.ordered")
    workers.start()
    due = {}
    with JobProducer(settings) as producer:
        for number, delay in enumerate((3.0, 0.001, 1.5, 0.0)):
            due[f"job-{number}"] = time.monotonic_ns() + round(delay * 1e9)
            producer.publish(STEP, queue="ordered", id=f"job-{number}", key=f"key-{number}", delay=delay).result(20)
        moment = datetime.now(UTC) + timedelta(seconds=2)
        due["job-at"] = time.monotonic_ns() + 2 * 10**9
        producer.publish(STEP, queue="ordered", id="job-at", run_at=moment).result(20)
    workers.await_done(set(due), within=60)
    runs = {run.job: run for run in workers.ledger.runs()}
    assert len(workers.ledger.runs()) == len(due)
    for job, at in due.items():
        # The clocks of the broker's machine and of the ledger are one here; both were read within a millisecond.
        assert runs[job].start >= at - 2_000_000, f"{job} ran {(at - runs[job].start) / 1e6:.1f} ms early"
    assert runs["job-0"].key == "key-0"
    workers.stop()


def test_a_delayed_job_is_found_cancelled_and_given_another_time(fleet: Fleet, settings: ProducerSettings) -> None:
    workers = fleet("tests.jobs.ordered")
    workers.start()
    delayed = DelayedJobs(settings)
    with JobProducer(settings) as producer:
        for job in ("later", "sooner", "never"):
            producer.publish(STEP, queue="ordered", id=job, key="k", delay=timedelta(days=365)).result(20)
    # Each of these changes is valid whoever is away.
    workers.stop()
    found = delayed.find("sooner")
    assert (found.id, found.queue, found.type, found.key) == ("sooner", "ordered", "tests.ordered.Step", "k")
    assert timedelta(days=364) < found.due - datetime.now(UTC) <= timedelta(days=365)
    assert [job.id for job in delayed.list(queue="ordered")] == ["later", "sooner", "never"]
    assert delayed.list(before=datetime.now(UTC) + timedelta(days=1)) == []
    assert delayed.cancel("never").id == "never"
    assert delayed.run_now("sooner").due <= datetime.now(UTC) + timedelta(seconds=1)
    moved = delayed.reschedule("later", delay=3)
    assert {job.id: job.due_ms for job in delayed.list()}["later"] == moved.due_ms
    with pytest.raises(NotWaiting, match="'never' waits: it has gone to its queue, was cancelled"):
        delayed.cancel("never")
    workers.start()
    workers.await_done({"sooner", "later"}, within=60)
    with pytest.raises(NotWaiting):
        delayed.find("later")
    assert sorted(run.job for run in workers.ledger.runs()) == ["later", "sooner"]
    workers.stop()


def test_a_job_with_the_header_alone_is_moved_and_runs_when_due(
    fleet: Fleet, kafka: str, settings: ProducerSettings, namespace: str
) -> None:
    """As any client in any language publishes it: to the queue's own topic, or to that of delayed jobs."""
    workers = fleet("tests.jobs.ordered")
    workers.start()
    with JobProducer(settings) as producer:
        producer.publish(STEP, queue="ordered", id="template", key="k").result(20)
    workers.await_done({"template"}, within=60)
    (template,) = read_committed(kafka, f"{namespace}.ordered")
    at = round(time.time() * 1000) + 3_000
    due = time.monotonic_ns() + 3 * 10**9
    until_due = [("job-not-before", str(at).encode())]
    publish_raw(kafka, f"{namespace}.ordered", b"k", template.value, [*until_due, ("ce_id", b"moved")])
    publish_raw(kafka, f"{namespace}.ordered", b"k", template.value, [("ce_id", b"behind")])
    waits = [*until_due, ("job-queue", b"ordered"), ("job-key", b"k")]
    publish_raw(kafka, f"{namespace}.scheduled", b"written", template.value, waits)
    workers.await_done({"moved", "written", "behind"}, within=60)
    runs = {run.job: run for run in workers.ledger.runs()}
    assert runs["behind"].start < due
    assert runs["moved"].start >= due - 2_000_000
    assert runs["written"].start >= due - 2_000_000
    assert runs["written"].key == runs["moved"].key == "k"
    workers.stop()


def test_records_that_are_no_delayed_jobs_become_dead_letters(
    fleet: Fleet, kafka: str, settings: ProducerSettings, namespace: str
) -> None:
    workers = fleet("tests.jobs.ordered")
    workers.start()
    topic = f"{namespace}.scheduled"
    publish_raw(kafka, topic, b"no-queue", b"value", [("job-not-before", b"1")])
    publish_raw(kafka, topic, b"no-time", b"value", [("job-queue", b"ordered")])
    publish_raw(kafka, topic, b"bad-queue", b"value", [("job-queue", b"or/dered"), ("job-not-before", b"1")])
    publish_raw(kafka, topic, b"command/what", b"value", [("job-command", b"dance"), ("job-not-before", b"1")])
    publish_raw(kafka, topic, b"command/nobody", b"value", [("job-command", b"reschedule"), ("job-not-before", b"1")])
    with JobProducer(settings) as producer:
        producer.publish(STEP, queue="ordered", id="good", delay=0.1).result(20)
    workers.await_done({"good"}, within=60)
    until(lambda: len(read_committed(kafka, f"{topic}.dead")) == 4, within=30, what="a dead letter for each")
    letters = read_committed(kafka, f"{topic}.dead")
    assert {letter.key for letter in letters} == {b"no-queue", b"no-time", b"bad-queue", b"command/what"}
    assert all("expected" in (letter.header("job-error-message") or "") for letter in letters)
    assert DelayedJobs(settings).list() == []
    workers.stop()


def test_a_job_for_a_queue_that_is_not_there_waits_for_it(
    fleet: Fleet, kafka: str, settings: ProducerSettings, namespace: str
) -> None:
    workers = fleet("tests.jobs.chain")
    workers.start()
    with JobProducer(settings) as producer:
        producer.publish(STEP, queue="ordered", id="early", delay=0).result(20)
    until(
        lambda: workers.all[0].count("delayed job early is due and waits on, 0 others as well") > 0,
        within=30,
        what="the line that says so",
    )
    workers.stop()
    others = fleet("tests.jobs.ordered")
    others.start()
    others.await_done({"early"}, within=60)
    others.stop()


def test_each_goes_once_whatever_becomes_of_its_worker(
    fleet: Fleet, kafka: str, settings: ProducerSettings, namespace: str
) -> None:
    """Workers are killed, frozen for longer than their session, and started, while jobs fall due all the time."""
    workers = fleet("tests.jobs.ordered", session_timeout=6)
    workers.start(2)
    jobs = {f"job-{number}" for number in range(2_000)}
    with JobProducer(settings) as producer:
        for number, job in enumerate(sorted(jobs)):
            producer.publish(STEP, queue="ordered", id=job, delay=number / 100)
    topic = f"{namespace}.ordered"
    _await_more(kafka, topic, 1)
    workers.kill(workers.running[0])
    workers.launch()
    _await_more(kafka, topic, 100)
    frozen = workers.running[0]
    frozen.freeze()
    workers.launch()
    _await_more(kafka, topic, 100)
    frozen.thaw()
    _await_more(kafka, topic, 100)
    workers.kill(workers.running[1])
    workers.launch()
    until(lambda: len(read_committed(kafka, topic)) >= len(jobs), within=120, what=lambda: f"all go\n{workers.tails()}")
    ids = [record.header("ce_id") for record in read_committed(kafka, topic)]
    assert len(ids) == len(set(ids)), "some went twice"
    assert set(ids) == jobs
    assert DelayedJobs(settings).list() == []
    workers.kill_all()


def _await_more(kafka: str, topic: str, more: int) -> None:
    wanted = len(read_committed(kafka, topic)) + more
    until(lambda: len(read_committed(kafka, topic)) >= wanted, within=60, what=f"{wanted} jobs have gone")


def _create(kafka: str, topics: list[NewTopic]) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    for created in admin.create_topics(topics).values():
        created.result(timeout=30)


def test_what_was_written_and_not_committed_is_taken_back(kafka: str, namespace: str) -> None:
    """An owner stands still between its writing and its commit, and the next one begins."""
    topics = [NewTopic(f"{namespace}.{name}", 1) for name in ("scheduled", "email")]
    _create(kafka, topics)
    cluster = ProducerSettings(bootstrap_servers=kafka)
    first, second = (KafkaTransactions(cluster, f"{namespace}.scheduled") for _ in range(2))
    records = [
        OutgoingRecord(f"{namespace}.email", b"k", b"job", [("ce_id", b"a")]),
        OutgoingRecord(f"{namespace}.scheduled", b"a", None, [], 0),
    ]
    first.begin(0)
    first.commit(0, records)
    stands = first._clients[0]
    stands.begin_transaction()
    stands.produce(f"{namespace}.email", b"job", b"k")
    assert stands.flush(30) == 0
    second.begin(0)
    last = second.commit(0, [record._replace(value=record.value and b"again") for record in records])
    assert last == 2, "a record, the marker behind it, and this one"
    with pytest.raises(KafkaException):
        stands.commit_transaction(10)
    with pytest.raises(TransactionFailed, match="another worker has the partition by now"):
        first.commit(0, records)
    assert [record.value for record in read_committed(kafka, f"{namespace}.email")] == [b"job", b"again"]


def test_the_records_that_are_refused_are_told_and_no_other_is_written(kafka: str, namespace: str) -> None:
    topics = [NewTopic(f"{namespace}.{name}", 1, config=config) for name, config in
              (("scheduled", {}), ("email", {}), ("tiny", {"max.message.bytes": "300"}))]  # fmt: skip
    _create(kafka, topics)
    transactions = KafkaTransactions(ProducerSettings(bootstrap_servers=kafka), f"{namespace}.scheduled")
    transactions.begin(0)
    good = OutgoingRecord(f"{namespace}.email", None, b"good", [])
    large = OutgoingRecord(f"{namespace}.tiny", None, os.urandom(2_000), [])
    nowhere = OutgoingRecord(f"{namespace}.nowhere", None, b"lost", [])
    with pytest.raises(RecordsRefused) as refused:
        transactions.commit(0, [good, large, good])
    assert {at: why.for_good for at, why in refused.value.refused.items()} == {1: True}
    with pytest.raises(RecordsRefused) as refused:
        transactions.commit(0, [nowhere, good])
    assert {at: why.for_good for at, why in refused.value.refused.items()} == {0: False}
    assert read_committed(kafka, f"{namespace}.email") == []
    transactions.commit(0, [good])
    assert [record.value for record in read_committed(kafka, f"{namespace}.email")] == [b"good"]


def test_a_job_that_its_queue_never_takes_becomes_a_dead_letter(
    fleet: Fleet, kafka: str, settings: ProducerSettings, namespace: str
) -> None:
    workers = fleet("tests.jobs.ordered")
    workers.start()
    set_config(kafka, [f"{namespace}.ordered"], "max.message.bytes", "1000")
    with JobProducer(settings) as producer:
        producer.publish(STEP, queue="ordered", id="large", key="k", delay=0, headers={"x": os.urandom(5_000)})
        producer.publish(STEP, queue="ordered", id="small", key="k", delay=0)
    workers.await_done({"small"}, within=60)
    dead = f"{namespace}.ordered.dead"
    (letter,) = until(lambda: read_committed(kafka, dead), within=60, what="the dead letter")
    assert (letter.header("ce_id"), letter.key) == ("large", b"k")
    assert "Message size too large" in (letter.header("job-error-message") or "")
    assert DelayedJobs(settings).list() == []
    workers.stop()
