"""Follow-up jobs that Kafka will never take: the job that published them says so, and its runner goes on."""

from __future__ import annotations

import asyncio
import os

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from producers import JobProducer, ProducerSettings
from streams.errors import FollowUpRefused
from streams.kafka.producer.sender import ReliableSender
from streams.ports.records import OutgoingRecord
from tests.integration.conftest import Fleet
from tests.models.trouble import Trouble
from tests.topics import count, read_all
from tests.waiting import until


async def test_of_follow_ups_of_one_batch_only_the_one_that_is_too_large_is_refused(kafka: str, namespace: str) -> None:
    topic = NewTopic(f"{namespace}.small", 1, config={"max.message.bytes": "3000"})
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([topic])[topic.topic].result(timeout=30)
    sender = ReliableSender(ProducerSettings(bootstrap_servers=kafka))
    jobs = [OutgoingRecord(topic.topic, b"k", os.urandom(200), [("ce_id", b"job-%d" % number)]) for number in range(50)]
    jobs[20] = jobs[20]._replace(value=os.urandom(5_000))
    sends = [sender.send(job) for job in jobs]
    outcomes = await asyncio.wait_for(asyncio.gather(*sends, return_exceptions=True), 60)
    assert [number for number, refused in enumerate(outcomes) if refused is not None] == [20]
    assert isinstance(outcomes[20], FollowUpRefused)
    assert "job job-20, 5,0" in str(outcomes[20])
    await sender.close()
    written = [record.header("ce_id") for record in read_all(kafka, topic.topic)]
    assert written == [f"job-{number}" for number in range(50) if number != 20]


REFUSED = "streams.errors.FollowUpRefused"


def test_a_follow_up_that_can_never_be_delivered(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.chain")
    workers.start()
    admin = AdminClient({"bootstrap.servers": kafka})
    tiny = NewTopic(f"{namespace}.tiny", 1, config={"max.message.bytes": "100"})
    admin.create_topics([tiny])[tiny.topic].result(timeout=30)
    with JobProducer(ProducerSettings(bootstrap_servers=kafka, namespace=namespace)) as producer:
        for job, queue in (("lost", "nowhere"), ("large", "tiny"), ("good", "chain")):
            producer.publish(Trouble(how=queue), key="key", queue="chain", id=job)
    # There is one runner, and one key: what comes behind shows that both are free again.
    workers.await_done({"after-good"}, within=60)
    dead = f"{namespace}.chain.dead"
    until(lambda: count(kafka, dead) == 2, within=20, what="a dead letter for each")
    workers.stop()
    lost, large = read_all(kafka, dead)
    assert (lost.header("ce_id"), large.header("ce_id")) == ("lost", "large")
    for letter, queue, reason in ((lost, "nowhere", "Unknown topic"), (large, "tiny", "Message size too large")):
        assert letter.header("job-error-type") == REFUSED
        message = letter.header("job-error-message") or ""
        assert f"{namespace}.{queue} did not take a job that this one published" in message
        assert reason in message
    assert sorted(run.job for run in workers.ledger.runs()) == ["after-good", "good", "large", "lost"]
