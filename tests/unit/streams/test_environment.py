"""What is wrong with the environment is said in a line for each variable."""

from __future__ import annotations

import os

import pytest
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

import streams.jobs.email
import streams.jobs.image
import streams.jobs.webhook  # noqa: F401 - their settings are known from here on, as in a worker that serves them
from producers import ProducerSettings
from schemas.registry import RegistrySettings
from streams.errors import SetupError
from streams.settings import Settings
from streams.settings.environment import check_shipped_jobs, read_settings, warn_of_unknown


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("STREAMS_", "KAFKA_", "SCHEMA_REGISTRY_")):
            monkeypatch.delenv(name)


def problems(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SetupError) as raised:
        read_settings()
    return str(raised.value).splitlines()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("STREAMS_CONCURRENCY", "many", "expected a whole number"),
        ("STREAMS_CONCURRENCY", "0", "expected 1 or more"),
        ("STREAMS_CONCURRENCY", "1e9", "expected a whole number"),
        ("STREAMS_WEB_PORT", "65536", "expected 65535 or less"),
        ("STREAMS_COMMIT_INTERVAL", "0", "expected more than 0"),
        ("STREAMS_COMMIT_INTERVAL", "often", "expected a number"),
        ("STREAMS_LOG_JOBS", "perhaps", "expected true or false"),
        ("STREAMS_REPLICATION_FACTOR", "0", "expected -1 or 1 or more"),
        ("STREAMS_NAMESPACE", "a b", "expected text that matches ^[A-Za-z0-9]"),
        ("STREAMS_WEB_PORT", "tcp://10.0.0.1:80", "expected a whole number (Kubernetes sets it for a service that is"),
        ("STREAMS_STOP_TIMEOUT", "inf", "expected a number"),
        ("STREAMS_CONCURRENCY", " ", "expected a whole number"),
        ("KAFKA_MESSAGE_MAX_BYTES", "9999999999", "expected 1000000000 or less"),
        ("KAFKA_BOOTSTRAP_SERVERS", " ", "expected host:port"),
        ("STREAMS_SOURCE", "s" * 1025, "expected 1024 characters or fewer"),
        ("KAFKA_MESSAGE_MAX_BYTES", "1", "expected 1000 or more"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS", "expected 'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:1,b:port", "expected host:port, several separated by commas"),
        ("SCHEMA_REGISTRY_TIMEOUT", "-1", "expected more than 0"),
        ("SCHEMA_REGISTRY_SUBJECT_STRATEGY", "any", "expected 'topic', 'record' or 'topic_record'"),
    ],
)
def test_a_variable_is_named_with_its_value_and_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    (line,) = problems(monkeypatch, **{name: value})
    assert line.startswith(f"{name}={value!r}: {expected}")


def test_every_variable_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = problems(
        monkeypatch,
        STREAMS_CONCURRENCY="many",
        STREAMS_STOP_TIMEOUT="soon",
        KAFKA_SASL_USERNAME="mailer",
        KAFKA_SASL_PASSWORD="s3cret",
        SCHEMA_REGISTRY_AUTO_REGISTER="x",
    )
    assert [line.partition("=")[0].partition(" ")[0] for line in lines] == [
        "KAFKA_SASL_*", "SCHEMA_REGISTRY_AUTO_REGISTER", "STREAMS_CONCURRENCY", "STREAMS_STOP_TIMEOUT",
    ]  # fmt: skip
    assert "s3cret" not in "".join(lines)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("STREAMS_SMTP_PORT", "x", "STREAMS_SMTP_PORT='x': expected a whole number"),
        ("STREAMS_SMTP_TLS", "ssl", "STREAMS_SMTP_TLS='ssl': expected 'none', 'starttls' or 'tls'"),
        ("STREAMS_SMTP_SENDER", "a b", "STREAMS_SMTP_SENDER is no e-mail address: 'a b'; expected 'ada@example.com'"),
        ("STREAMS_WEBHOOK_SECRETS", "whsec_s3cret", "STREAMS_WEBHOOK_SECRETS is no JSON (Expecting value: line 1"),
        ("STREAMS_WEBHOOK_SECRETS", '{"a": "s3cret"}', "STREAMS_WEBHOOK_SECRETS: secret 'a' must be whsec_ and base64"),
        ("STREAMS_WEBHOOK_SECRETS", '["s3cret"]', "STREAMS_WEBHOOK_SECRETS=...: expected a JSON object"),
        ("STREAMS_IMAGE_MAX_PIXELS", "0", "STREAMS_IMAGE_MAX_PIXELS='0': expected 1 or more"),
    ],
)
def test_the_shipped_jobs_own_are_read_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SetupError) as raised:
        check_shipped_jobs(Settings())
    assert str(raised.value).startswith(line)
    assert "s3cret" not in str(raised.value)
    check_shipped_jobs(Settings(shipped_jobs=False))


def test_a_programs_own_error_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "s3cret")
    with pytest.raises(ValidationError) as raised:
        ProducerSettings()
    assert "KAFKA_SASL_* is set" in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_usable_ones_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMS_CONCURRENCY", "5")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "a:1, [::1]:2,c")
    monkeypatch.setenv("STREAMS_PRODUCER", "nothing reads this")
    settings = read_settings()
    assert (settings.concurrency, settings.cluster.bootstrap_servers) == (5, "a:1, [::1]:2,c")


def test_an_empty_variable_of_the_registry_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RegistrySettings.model_fields:
        monkeypatch.setenv(f"SCHEMA_REGISTRY_{name.upper()}", "")
    assert RegistrySettings() == RegistrySettings.model_construct()


class OfAJobModule(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="STREAMS_OURS_")

    colour: str = "red"
    size: int = Field(default=1, validation_alias="STREAMS_SIZE")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("STREAMS_JOB", "; did you mean STREAMS_JOBS?"),
        ("STREAMS_CONCURENCY", "; did you mean STREAMS_CONCURRENCY?"),
        ("STREAMS_SMTP_HOTS", "; did you mean STREAMS_SMTP_HOST?"),
        ("STREAMS_OURS_COLOR", "; did you mean STREAMS_OURS_COLOUR?"),
        ("STREAMS_XYZZY", ""),
        ("STREAMS_PRODUCER", ""),
    ],
)
def test_an_unknown_variable_is_told_with_the_nearest_known(
    caplog: pytest.LogCaptureFixture, name: str, said: str
) -> None:
    warn_of_unknown({name: "1"}, Settings())
    assert caplog.messages == [f"{name} is set, and nothing reads a variable of that name{said}"]


def test_known_variables_and_those_of_others_are_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    known = [
        "STREAMS_JOBS",
        "streams_pool",
        "STREAMS_SOURCE",
        "STREAMS_OURS_COLOUR",
        "STREAMS_SIZE",
        "STREAMS_SMTP_PORT",
    ]
    warn_of_unknown(dict.fromkeys([*known, "KAFKA_HEAP_OPTS", "PATH"], "1"), Settings())
    assert not caplog.messages


def test_the_shipped_jobs_own_are_not_judged_where_they_are_not_served(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_unknown({"STREAMS_SMTP_HOTS": "1"}, Settings(shipped_jobs=False))
    assert not caplog.messages
