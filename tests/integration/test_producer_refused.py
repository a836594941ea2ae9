"""What a producer says that a cluster does not let in: the cause and the remedy, never only that time has passed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from producers import DeliveryFailed, DeliveryPending, JobHandle, JobProducer, ProducersError, ProducerSettings
from schemas.models.email import SendEmail
from tests.brokers import SecureBroker
from tests.waiting import until

#: A cluster with access rules, where the tests themselves may do all.
ASKS = """
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
EMAIL = SendEmail(to=["a@b.c"], subject="", text="")
WITHIN = 60.0


@dataclass(frozen=True)
class Case:
    """What is wrong: variables that differ, and what has to be said of it."""

    wrong: Mapping[str, str]
    says: tuple[str, ...]
    without: tuple[str, ...] = field(default=())


SASL = ("KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD")
CASES = {
    "a wrong password": Case({"KAFKA_SASL_PASSWORD": "x"}, ("Invalid username or password", "KAFKA_SASL_PASSWORD")),
    "an unknown user of a mechanism": Case(
        {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_SASL_USERNAME": "x"},
        ("invalid credentials with SASL mechanism SCRAM-SHA-512", "KAFKA_SASL_MECHANISM"),
    ),
    "an authority nobody knows": Case(
        {}, ("certificate verify failed", "KAFKA_SSL_CA_LOCATION"), ("KAFKA_SSL_CA_LOCATION",)
    ),
    "plain words to a TLS port": Case({"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, ("KAFKA_SECURITY_PROTOCOL",), SASL),
    "TLS to a plain port": Case(
        {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_BOOTSTRAP_SERVERS": "{plain}"}, ("KAFKA_SECURITY_PROTOCOL",), SASL
    ),
    "a login without TLS to a TLS port": Case(
        {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, ("KAFKA_SECURITY_PROTOCOL",)
    ),
    "a login to a port that has none": Case(
        {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_BOOTSTRAP_SERVERS": "{plain}"}, ("KAFKA_SASL_MECHANISM",)
    ),
    "no certificate to a port that wants one": Case(
        {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_BOOTSTRAP_SERVERS": "{certificates}"}, ("KAFKA_SSL_",), SASL
    ),
    "a port where nobody is": Case({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, ("Connection refused",)),
    "a name that nobody has": Case({"KAFKA_BOOTSTRAP_SERVERS": "nobody.invalid:9092"}, ("Failed to resolve",)),
}


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    with closing(SecureBroker(tmp_path_factory.mktemp("refused"), properties=ASKS)) as broker:
        broker.start()
        yield broker


def settings(broker: SecureBroker, case: Case, namespace: str, **other: int) -> ProducerSettings:
    environment = broker.with_password("PLAIN") | dict(case.wrong)
    places = {"plain": broker.bootstrap, "certificates": broker.certificates}
    variables = {
        name.removeprefix("KAFKA_").lower(): value.format(**places)
        for name, value in environment.items()
        if name not in case.without
    }
    return ProducerSettings.model_validate({**variables, "namespace": namespace, **other})


def pending(handle: JobHandle) -> str:
    """What a wait for a delivery says that has no outcome yet."""
    with pytest.raises(DeliveryPending) as waiting:
        handle.result(0.2)
    return str(waiting.value)


def test_who_is_not_let_in_is_told_why_and_what_to_check(
    secure: SecureBroker, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        handles: dict[str, JobHandle] = {}
        for what, case in CASES.items():
            producer = JobProducer(settings(secure, case, namespace, delivery_timeout_ms=15_000))
            stack.callback(close, producer)
            handles[what] = producer.publish(EMAIL)
        until(lambda: "do not let this producer in" in caplog.text, within=WITHIN, what="a line in the log")
        until(
            lambda: re.search(r"do not let this producer in .*Invalid username", pending(handles["a wrong password"])),
            within=WITHIN, what="who waits is told",
        )  # fmt: skip
        wrong = []
        for what, case in CASES.items():
            with pytest.raises(DeliveryFailed) as failed:
                handles[what].result(WITHIN)
            assert failed.value.may_be_written
            wrong += [f"{what}: {failed.value}" for part in case.says if part not in str(failed.value)]
        assert not wrong, "\n".join(wrong)


def test_a_topic_that_the_user_may_not_write_to(secure: SecureBroker, namespace: str) -> None:
    topic = NewTopic(f"{namespace}.email", 1)
    admin = AdminClient({"bootstrap.servers": secure.bootstrap})
    admin.create_topics([topic])[topic.topic].result(timeout=30)
    with JobProducer(settings(secure, Case({}, ()), namespace)) as producer:
        with pytest.raises(DeliveryFailed, match=r"Topic authorization failed.*allow this user Write") as failed:
            producer.publish(EMAIL).result(WITHIN)
        assert not failed.value.may_be_written


def close(producer: JobProducer) -> None:
    with suppress(ProducersError):  # Which has been looked at.
        producer.close(WITHIN)
