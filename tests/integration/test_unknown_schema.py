"""A record whose schema nobody registered: a dead letter, and its queue goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from confluent_kafka import Producer

from producers import JobProducer, ProducerSettings
from schemas import Codec, Registry, RegistrySettings, shipped
from tests.integration.conftest import Fleet
from tests.models.ordered import Step
from tests.registries import RegistryServer
from tests.topics import count, read_all
from tests.waiting import until

UNKNOWN = b"\x00" + (2_000_000_000).to_bytes(4, "big") + b"body"


@pytest.fixture
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with closing(RegistryServer(tmp_path_factory.mktemp("registry"))) as server:
        server.start()
        yield server


def test_a_schema_id_that_the_registry_does_not_know(
    registry: RegistryServer, fleet: Fleet, kafka: str, namespace: str
) -> None:
    workers = fleet("tests.jobs.ordered", environment={"SCHEMA_REGISTRY_URL": registry.url}, schema_wait=0)
    workers.start()
    topic = f"{namespace}.ordered"
    foreign = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random"})
    jobs = set()
    settings = ProducerSettings(bootstrap_servers=kafka, namespace=namespace)
    with (
        closing(Registry(RegistrySettings(url=registry.url))) as client,
        JobProducer(settings, codec=Codec(shipped(), client)) as producer,
    ):
        for number in range(30):
            if number % 10 == 5:
                foreign.produce(topic, UNKNOWN, b"key")
                assert foreign.flush(30) == 0
            handle = producer.publish(Step(seq=number, seconds=0.0), key="key")
            handle.result()
            jobs.add(handle.id)
    workers.await_done(jobs, within=30)
    until(lambda: count(kafka, f"{topic}.dead") == 3, within=20, what="a dead letter for each")
    workers.stop()
    for letter in read_all(kafka, f"{topic}.dead"):
        assert letter.value == UNKNOWN
        assert letter.header("job-error-type") == "schemas.errors.UnknownSchema"
        assert "2000000000" in (letter.header("job-error-message") or "")
    assert [run.seq for run in workers.ledger.runs()] == list(range(30))
