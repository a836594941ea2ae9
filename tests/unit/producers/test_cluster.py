import pytest
from pydantic import SecretStr, ValidationError

from producers.cluster import Cluster


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Cluster.model_fields:
        monkeypatch.delenv(f"KAFKA_{name.upper()}", raising=False)


def test_defaults_to_the_local_broker() -> None:
    assert Cluster().client_config() == {"bootstrap.servers": "127.0.0.1:9092", "security.protocol": "PLAINTEXT"}


def test_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512")
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "mailer")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "s3cret")
    monkeypatch.setenv("KAFKA_SSL_CA_LOCATION", "/ca.pem")
    cluster = Cluster()
    assert cluster.uses_sasl
    assert cluster.uses_tls
    assert cluster.client_config() == {
        "bootstrap.servers": "a:1,b:2",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "mailer",
        "sasl.password": "s3cret",
        "ssl.ca.location": "/ca.pem",
    }


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "")
    assert Cluster().bootstrap_servers == "127.0.0.1:9092"


def test_a_password_is_not_printed() -> None:
    cluster = Cluster(
        security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN", sasl_username="u", sasl_password=SecretStr("s3cret")
    )
    assert "s3cret" not in repr(cluster)


def test_incomplete_login_names_what_is_missing() -> None:
    with pytest.raises(ValidationError, match="also needs KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD"):
        Cluster(security_protocol="SASL_SSL", sasl_mechanism="PLAIN")


def test_login_without_its_protocol_is_refused() -> None:
    with pytest.raises(ValidationError, match="set KAFKA_SECURITY_PROTOCOL"):
        Cluster(sasl_username="mailer")


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ValidationError, match="KAFKA_SSL_KEY_LOCATION"):
        Cluster(security_protocol="SSL", ssl_certificate_location="/cert.pem")


def test_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Cluster().bootstrap_servers = "elsewhere:9092"


def test_librdkafka_takes_the_configuration() -> None:
    """A misspelt name would raise here; no broker is needed."""
    from confluent_kafka import Producer

    cluster = Cluster(
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-256",
        sasl_username="u",
        sasl_password=SecretStr("p"),
    )
    assert Producer({**cluster.client_config(), "log_level": 0})
