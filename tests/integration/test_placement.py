"""A worker tells of a producer that places keys by another rule than all others, and of nobody else."""

from __future__ import annotations

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from producers import JobProducer, ProducerSettings
from schemas.catalog import shipped
from schemas.codec import Codec
from tests.integration.conftest import Fleet
from tests.models.ordered import Step
from tests.topics import partitions
from tests.waiting import until

WARNING = "a producer does not place keys as the others do"
KEYS = [f"customer-{number}" for number in range(24)]


def test_a_producer_with_another_partitioner_is_told_of_and_a_topic_that_grew_is_not(
    fleet: Fleet, kafka: str, namespace: str
) -> None:
    topic = f"{namespace}.ordered"
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, 4)])[topic].result(timeout=30)
    settings = ProducerSettings(bootstrap_servers=kafka, namespace=namespace)
    with JobProducer(settings) as before:
        jobs = {before.publish(Step(seq=0, seconds=0), key=key).id for key in KEYS}
    admin.create_partitions([NewPartitions(topic, 12)])[topic].result(timeout=30)
    until(lambda: partitions(kafka, topic) == 12, within=30, what="the topic has grown")
    workers = fleet("tests.jobs.ordered")
    (worker,) = workers.start()
    with JobProducer(settings) as after:
        jobs |= {after.publish(Step(seq=1, seconds=0), key=key).id for key in KEYS}
        jobs |= {after.publish(Step(seq=2, seconds=0)).id for _ in range(24)}
    workers.await_done(jobs, within=60)
    assert worker.count(WARNING) == 0, worker.tail()

    foreign = Producer({"bootstrap.servers": kafka})
    value = Codec(shipped()).encode(Step(seq=3, seconds=0), topic)
    for _ in range(2):
        for key in KEYS:
            foreign.produce(topic, value, key)
        foreign.flush(30)
    until(lambda: worker.count(WARNING) == 1, within=60, what=lambda: f"a warning:\n{worker.tail()}")
    assert worker.count(rf"{topic}: {WARNING}: the key 'customer-\d+' lies in .*partitioner=murmur2_random") == 1
    worker.stop()
    assert worker.count(WARNING) == 1
