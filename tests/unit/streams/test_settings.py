"""A worker's settings from the environment."""

from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from streams.settings import Settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("STREAMS_", "KAFKA_", "SCHEMA_REGISTRY_")):
            monkeypatch.delenv(name)


def test_defaults() -> None:
    settings = Settings()
    assert settings.group == "jobs.default"
    assert settings.topic("email") == "jobs.email"
    assert settings.topics("email").dead == "jobs.email.dead"
    assert settings.job_packages == ("streams.jobs",)
    assert settings.cluster.bootstrap_servers == "127.0.0.1:9092"
    assert settings.web_port is None
    # Often enough that a crash repeats little, well within what a rebalance may take.
    assert settings.commit_interval <= 0.05
    assert settings.handover_timeout < 60


def test_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMS_NAMESPACE", "shop")
    monkeypatch.setenv("STREAMS_POOL", "slow")
    monkeypatch.setenv("STREAMS_JOBS", " shop.jobs, ,shop.more ")
    monkeypatch.setenv("STREAMS_SHIPPED_JOBS", "false")
    monkeypatch.setenv("STREAMS_CONCURRENCY", "5")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2")
    settings = Settings()
    assert settings.group == "shop.slow"
    assert settings.topic("email") == "shop.email"
    assert settings.job_packages == ("shop.jobs", "shop.more")
    assert settings.concurrency == 5
    assert settings.cluster.bootstrap_servers == "a:1,b:2"
    assert settings.producer.namespace == "shop", "a follow-up job goes where the workers look"


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMS_WEB_PORT", "")
    monkeypatch.setenv("STREAMS_NAMESPACE", "")
    assert Settings() == Settings(namespace="jobs")


def test_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().pool = "other"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("namespace", "a b"),
        ("namespace", ".hidden"),
        ("namespace", "a" * 101),
        ("pool", "a.b"),
        ("pool", "é"),
        ("concurrency", "0"),
        ("concurrency", "many"),
        ("processes", "0"),
        ("buffer_jobs", "0"),
        ("buffer_bytes", "-1"),
        ("parked_jobs", "0"),
        ("parked_bytes", "0"),
        ("commit_interval", "0"),
        ("stop_timeout", "-1"),
        ("handover_timeout", "51"),
        ("session_timeout", "0.5"),
        ("session_timeout", "nan"),
        ("replication_factor", "0"),
        ("log_jobs", "perhaps"),
        ("web_port", "0"),
        ("web_port", "65536"),
    ],
)
def test_an_unusable_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"STREAMS_{name.upper()}", value)
    with pytest.raises(ValidationError, match=name):
        Settings()
