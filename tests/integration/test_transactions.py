"""Jobs that are published in transactions: those of a transaction that was aborted were never published."""

from __future__ import annotations

import uuid

from confluent_kafka import Producer

from schemas import Codec, shipped
from tests.integration.conftest import Fleet
from tests.models.ordered import Step
from tests.publishing import Steps
from tests.topics import count, lag
from tests.waiting import until


def test_jobs_of_aborted_transactions_never_run(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.ordered")
    (worker,) = workers.start()
    topic = f"{namespace}.ordered"
    name = uuid.uuid4().hex
    client = Producer({"bootstrap.servers": kafka, "transactional.id": name})
    client.init_transactions(30)
    committed, aborted = set(), set()
    with Steps(kafka, namespace) as steps:
        for number in range(10):
            steps.publish(f"key-{number}", 0.0)
            aborted |= publish(client, topic, f"aborted-{number}", commit=False)
            steps.publish(f"key-{number}", 0.0)
            committed |= publish(client, topic, f"committed-{number}", commit=True)
            steps.publish(f"key-{number}", 0.0)
    workers.await_done(steps.ids | committed, within=30)
    group = f"{namespace}.default"
    until(lambda: lag(kafka, group, topic) == 0, within=30, what=lambda: f"lag is 0: {lag(kafka, group, topic)}")
    value = Codec(shipped()).encode(Step(seq=0, seconds=0.0), topic)
    client.begin_transaction()
    client.produce(topic, value, partition=0, headers=[("ce_id", b"open")])
    client.flush(30)
    told = f"a transaction that begins there is open, of transactional.id '{name}'"
    until(lambda: worker.count(told), within=60, what=worker.tail)
    assert "open" not in workers.ledger.started
    client.commit_transaction(30)
    committed.add("open")
    workers.await_done({"open"}, within=30)
    assert worker.count(told) == 1
    workers.stop()
    assert count(kafka, topic) > len(steps.ids | committed | aborted), "the aborted ones are in the log, too"
    assert not aborted & workers.ledger.started
    assert len(workers.ledger.runs()) == len(steps.ids | committed), "each once"
    assert count(kafka, f"{topic}.dead") == 0


def publish(client: Producer, topic: str, name: str, *, commit: bool) -> set[str]:
    """Publish a job to each of three partitions in one transaction, and end it; the ids."""
    value = Codec(shipped()).encode(Step(seq=0, seconds=0.0), topic)
    ids = {number: f"{name}-{number}" for number in range(3)}
    client.begin_transaction()
    for number, job in ids.items():
        client.produce(topic, value, job.encode(), partition=number, headers=[("ce_id", job.encode())])
    # What is aborted must have been written before: else it would not be in the log.
    client.flush(30)
    (client.commit_transaction if commit else client.abort_transaction)(30)
    return set(ids.values())
