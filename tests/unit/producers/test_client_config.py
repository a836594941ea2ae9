import pytest

from producers import JobProducer, OptionInvalid, ProducerSettings
from producers.delivery.client_config import client_config
from schemas.models.email import SendEmail


def test_no_loss_no_reordering_and_java_s_placement_are_configured() -> None:
    config = client_config(ProducerSettings(), {})
    assert config["enable.idempotence"] is True
    assert config["acks"] == "all"
    assert config["partitioner"] == "murmur2_random"
    assert config["compression.type"] in {"lz4", "zstd"}
    assert config["message.max.bytes"] == 1_000_000
    assert config["delivery.timeout.ms"] == 120_000


def test_a_tuning_option_wins_over_ours() -> None:
    assert client_config(ProducerSettings(), {"linger.ms": 50})["linger.ms"] == 50


@pytest.mark.parametrize(
    "name", ["acks", "enable.idempotence", "partitioner", "bootstrap.servers", "message.max.bytes"]
)
def test_an_option_that_breaks_a_promise_is_refused(name: str) -> None:
    with pytest.raises(OptionInvalid, match=f"client option '{name}'"):
        JobProducer(client_options={name: "1"})


def test_an_option_librdkafka_does_not_know_is_named() -> None:
    producer = JobProducer(client_options={"no.such.option": 1})
    with pytest.raises(OptionInvalid, match=r"no\.such\.option"):
        producer.publish(SendEmail(to=["a@b.c"], subject="", text=""))


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMS_NAMESPACE", "shop")
    monkeypatch.setenv("STREAMS_SOURCE", "checkout")
    monkeypatch.setenv("KAFKA_MESSAGE_MAX_BYTES", "5000")
    monkeypatch.setenv("KAFKA_DELIVERY_TIMEOUT_MS", "7000")
    settings = ProducerSettings()
    assert (settings.namespace, settings.source) == ("shop", "checkout")
    assert (settings.message_max_bytes, settings.delivery_timeout_ms) == (5000, 7000)
