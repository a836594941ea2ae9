"""Clusters that one has to log in to: the KAFKA_* settings take producers and workers there, over TLS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from producers import JobProducer, ProducerSettings
from tests.brokers import SecureBroker
from tests.integration.conftest import Fleet
from tests.models.ordered import Step
from tests.topics import count
from tests.waiting import until


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    with closing(SecureBroker(tmp_path_factory.mktemp("secure"))) as broker:
        broker.start()
        yield broker


def log_in(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    """Set the variables as a service that publishes has them."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("way", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "certificate"])
def test_jobs_go_through_a_cluster_that_asks_for_a_login(
    secure: SecureBroker, fleet: Fleet, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    environment = secure.with_certificate(tmp_path) if way == "certificate" else secure.with_password(way)
    workers = fleet("tests.jobs.ordered", bootstrap=secure.bootstrap, environment=environment)
    workers.start()
    log_in(monkeypatch, environment)
    with JobProducer(ProducerSettings(namespace=namespace)) as producer:
        jobs = {producer.publish(Step(seq=number, seconds=0.0), key="key").id for number in range(20)}
        # Its dead letter shows that the worker's own producer logs in, too.
        producer.publish(Step(seq=20, seconds=0.0), key="key", expires_in=0.001)
    workers.await_done(jobs, within=30)
    until(lambda: count(secure.bootstrap, f"{namespace}.ordered.dead") == 1, within=30, what="a dead letter")
    workers.stop()


#: What is wrong with a login, and what the worker says of it.
REFUSED = {
    "a wrong password": ({"KAFKA_SASL_PASSWORD": "wrong"}, "Invalid username or password"),
    "an unknown user": ({"KAFKA_SASL_USERNAME": "nobody"}, "Invalid username or password"),
    "a broker nobody vouches for": ({"KAFKA_SSL_CA_LOCATION": ""}, "certificate verify failed"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_login_that_is_refused(secure: SecureBroker, fleet: Fleet, what: str) -> None:
    wrong, reason = REFUSED[what]
    workers = fleet("tests.jobs.ordered", bootstrap=secure.bootstrap, environment=secure.with_password("PLAIN") | wrong)
    worker = workers.launch()
    assert worker.wait(within=45) != 0, worker.output
    (said,) = [line for line in worker.output.splitlines() if line.startswith("streams.errors.SetupError")]
    assert f"the brokers at {secure.passwords} do not let this worker in" in said
    assert reason in said
    assert "check KAFKA_SECURITY_PROTOCOL" in said
