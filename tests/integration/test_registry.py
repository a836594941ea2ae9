"""The registry path against a real registry: Apicurio's, through Confluent's API."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import fastavro
import psutil
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from producers import AsyncJobProducer, JobProducer, ProducerSettings
from schemas import (
    Catalog,
    Codec,
    Registry,
    RegistryRefused,
    RegistrySettings,
    RegistryUnavailable,
    SubjectStrategy,
    Undecodable,
    UnknownJobType,
    UnknownSchema,
    shipped,
)
from schemas.models.email import SendEmail
from tests.registries import RegistryServer
from tests.topics import read_all
from tests.unit.schemas.demo.models.demo import Everything, Growing, Kind
from tests.unit.schemas.samples import TOPIC, demo_codec, everything
from tests.waiting import until

EMAIL = SendEmail(to=["a@example.com"], subject="s", text="t")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with closing(RegistryServer(tmp_path_factory.mktemp("registry"))) as server:
        server.start()
        yield server


@pytest.fixture
def make(server: RegistryServer) -> Iterator[Callable[..., Registry]]:
    """Makes registry clients, each with caches of its own."""
    made: list[Registry] = []

    def registry(**settings: Any) -> Registry:
        made.append(Registry(RegistrySettings(**{"url": server.url, "timeout": 30.0, **settings})))
        return made[-1]

    yield registry
    for each in made:
        each.close()


@pytest.fixture
def client(server: RegistryServer) -> Iterator[SchemaRegistryClient]:
    """What a microservice without our library has."""
    with SchemaRegistryClient({"url": server.url}) as client:
        yield client


async def test_a_value_is_framed_and_read_back_by_another_process(make: Callable[..., Registry]) -> None:
    writer, reader = Codec(shipped(), make()), Codec(shipped(), make())
    value = writer.encode(EMAIL, TOPIC)
    schema_id = int.from_bytes(value[1:5], "big")
    assert value[:1] == b"\x00"
    assert writer.registry is not None
    assert "SendEmail" in writer.registry.schema_text(schema_id)

    assert reader.missing_schema_id(value) == schema_id
    await reader.load_schema(schema_id)
    assert reader.missing_schema_id(value) is None
    assert reader.decode(value) == (SendEmail.JOB_TYPE, EMAIL)
    assert reader.job_type_of_value(value) == SendEmail.JOB_TYPE


async def test_a_producer_with_nothing_but_confluents_client_is_understood(
    client: SchemaRegistryClient, make: Callable[..., Registry]
) -> None:
    """Written with an older version that only the registry has."""
    codec = demo_codec()
    old = codec.catalog.versions(Growing.JOB_TYPE)[0]
    schema_id = client.register_schema(f"{uuid.uuid4()}-value", Schema(old.text, "AVRO"))
    body = BytesIO()
    datum = {"name": "n", "count": 3, "kept": "ODD", "when": 0, "dropped": []}
    fastavro.schemaless_writer(body, old.parsed, datum)
    value = b"\x00" + schema_id.to_bytes(4, "big") + body.getvalue()

    codec.registry = make()
    await codec.load_schema(schema_id)
    job_type, payload = codec.decode(value)
    assert job_type == "tests.demo.Growing"
    assert (payload.title, payload.count, payload.kept) == ("n", 3.0, Kind.OLD)


async def test_single_object_values_are_read_with_a_registry_too(make: Callable[..., Registry]) -> None:
    value = Codec(shipped()).encode(EMAIL, TOPIC)
    codec = Codec(shipped(), make())
    assert codec.missing_schema_id(value) is None
    assert codec.decode(value) == (SendEmail.JOB_TYPE, EMAIL)


@pytest.mark.parametrize(
    ("strategy", "subject"),
    [
        (SubjectStrategy.RECORD, "jobs.email.SendEmail"),
        (SubjectStrategy.TOPIC, "{topic}-value"),
        (SubjectStrategy.TOPIC_RECORD, "{topic}-jobs.email.SendEmail"),
    ],
)
def test_subjects_are_named_by_the_strategy(
    client: SchemaRegistryClient, make: Callable[..., Registry], strategy: SubjectStrategy, subject: str
) -> None:
    topic = f"jobs.{uuid.uuid4().hex}"
    Codec(shipped(), make(subject_strategy=strategy)).encode(EMAIL, topic)
    assert subject.format(topic=topic) in client.get_subjects()


def test_one_question_for_many_payloads(make: Callable[..., Registry], server: RegistryServer) -> None:
    codec = Codec(shipped(), make())
    first = codec.encode(EMAIL, TOPIC)
    server.freeze()
    try:
        assert codec.encode(EMAIL, TOPIC) == first
    finally:
        server.thaw()


async def test_prepare_registers_without_blocking_encode(make: Callable[..., Registry]) -> None:
    codec = Codec(shipped(), make())
    assert not codec.is_prepared(SendEmail, TOPIC)
    await codec.prepare(SendEmail, TOPIC)
    assert codec.is_prepared(SendEmail, TOPIC)
    assert Codec(shipped()).is_prepared(SendEmail, TOPIC)


def test_without_auto_register_an_unregistered_schema_is_refused_with_the_remedy(
    make: Callable[..., Registry],
) -> None:
    topic = f"jobs.{uuid.uuid4().hex}"
    careful = make(auto_register=False, subject_strategy=SubjectStrategy.TOPIC)
    with pytest.raises(RegistryRefused, match="SCHEMA_REGISTRY_AUTO_REGISTER=true"):
        Codec(shipped(), careful).encode(EMAIL, topic)
    registered = Codec(shipped(), make(subject_strategy=SubjectStrategy.TOPIC)).encode(EMAIL, topic)
    assert Codec(shipped(), careful).encode(EMAIL, topic) == registered


def test_an_incompatible_schema_is_refused(server: RegistryServer, make: Callable[..., Registry]) -> None:
    topic = f"jobs.{uuid.uuid4().hex}"
    registry = make(subject_strategy=SubjectStrategy.TOPIC)
    registry.schema_id(topic, "a.B", '{"type": "record", "name": "a.B", "fields": []}')
    put(f"{server.url}/config/{topic}-value", {"compatibility": "BACKWARD"})
    with pytest.raises(RegistryRefused, match="make a new version that old readers can read"):
        registry.schema_id(
            topic, "a.B", '{"type": "record", "name": "a.B", "fields": [{"name": "must", "type": "string"}]}'
        )


def put(url: str, body: dict[str, str]) -> None:
    request = Request(url, json.dumps(body).encode(), {"content-type": "application/json"}, method="PUT")
    with urlopen(request, timeout=5):
        pass


async def test_an_id_nobody_registered_is_unknown_and_not_asked_for_again_for_a_while(
    make: Callable[..., Registry],
) -> None:
    now = 100.0
    codec = Codec(shipped(), make(), clock=lambda: now)
    value = b"\x00" + (2_000_000_000).to_bytes(4, "big") + b"body"
    assert codec.missing_schema_id(value) == 2_000_000_000
    with pytest.raises(UnknownSchema, match="2000000000"):
        await codec.load_schema(2_000_000_000)
    assert codec.missing_schema_id(value) is None
    with pytest.raises(UnknownSchema):
        codec.decode(value)
    now += 31
    assert codec.missing_schema_id(value) == 2_000_000_000


@pytest.mark.parametrize(
    ("kind", "text", "error"),
    [
        ("AVRO", '{"type": "record", "name": "other.team.Thing", "fields": []}', UnknownJobType),
        ("AVRO", '"string"', UnknownSchema),
        ("AVRO", '{"type": "record", "name": "a.Z", "fields": [{"name": "z", "type":'
                 ' {"type": "array", "items": "null"}}]}', UnknownSchema),
        ("AVRO", '{"type": "record", "name": "jobs.email.SendEmail", "fields": [{"name": "to", "type": "int"}]}',
         Undecodable),
    ],
)  # fmt: skip
async def test_values_of_schemas_that_are_no_use_here_are_undecodable(
    client: SchemaRegistryClient, make: Callable[..., Registry], kind: str, text: str, error: type[Undecodable]
) -> None:
    schema_id = client.register_schema(f"s-{uuid.uuid4()}", Schema(text, kind))
    codec = Codec(shipped(), make())
    await codec.load_schema(schema_id)
    value = b"\x00" + schema_id.to_bytes(4, "big") + b"\x02"
    assert codec.missing_schema_id(value) is None
    for _ in range(2):
        with pytest.raises(error):
            codec.decode(value)


async def test_a_schema_that_is_no_avro_is_unknown(client: SchemaRegistryClient, make: Callable[..., Registry]) -> None:
    text = '{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}'
    schema_id = client.register_schema(f"s-{uuid.uuid4()}", Schema(text, "JSON"))
    with pytest.raises(UnknownSchema):
        await Codec(shipped(), make()).load_schema(schema_id)


async def test_a_registry_that_is_down_is_unavailable_and_comes_back(
    server: RegistryServer, make: Callable[..., Registry]
) -> None:
    value = Codec(shipped(), make()).encode(EMAIL, TOPIC)
    reader = Codec(shipped(), make())
    schema_id = reader.missing_schema_id(value)
    assert schema_id is not None
    server.kill()
    for _ in range(2):
        with pytest.raises(RegistryUnavailable, match=r"the schema registry at http://127\.0\.0\.1"):
            await reader.load_schema(schema_id)
    with pytest.raises(RegistryUnavailable):
        Codec(shipped(), make()).encode(EMAIL, TOPIC)
    assert reader.missing_schema_id(value) == schema_id

    server.start()
    await reader.load_schema(schema_id)  # The same client goes on.
    assert reader.decode(value) == (SendEmail.JOB_TYPE, EMAIL)


async def test_a_registry_that_hangs_is_unavailable_within_its_timeout(
    server: RegistryServer, make: Callable[..., Registry]
) -> None:
    value = Codec(shipped(), make()).encode(EMAIL, TOPIC)
    reader = Codec(shipped(), make(timeout=0.5))
    schema_id = reader.missing_schema_id(value)
    assert schema_id is not None
    server.freeze()
    try:
        with pytest.raises(RegistryUnavailable):
            await asyncio.wait_for(reader.load_schema(schema_id), 30)  # For ever, were there no timeout.
    finally:
        server.thaw()
    await reader.load_schema(schema_id)
    assert reader.decode(value) == (SendEmail.JOB_TYPE, EMAIL)


def test_the_registry_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    server = RegistryServer(tmp_path)
    server.start()
    jvm = psutil.Process(server.jvm_pid())
    server.abandon()
    until(lambda: gone(jvm), within=10, what="the registry ended")


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCHEMA_REGISTRY_URL", raising=False)
    assert Registry.from_environment() is None
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "https://one:8081,https://two:8081")
    monkeypatch.setenv("SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO", "user:secret")
    monkeypatch.setenv("SCHEMA_REGISTRY_SUBJECT_STRATEGY", "topic_record")
    monkeypatch.setenv("SCHEMA_REGISTRY_AUTO_REGISTER", "false")
    settings = RegistrySettings()
    assert settings.client_config()["basic.auth.user.info"] == "user:secret"
    assert "secret" not in repr(settings)
    assert (settings.subject_strategy, settings.auto_register) == (SubjectStrategy.TOPIC_RECORD, False)
    registry = Registry.from_environment()
    assert registry is not None
    registry.close()


async def test_any_payload_goes_through_the_registry(make: Callable[..., Registry]) -> None:
    codec = demo_codec()
    codec.registry = make()
    value = codec.encode(everything(), TOPIC)
    await codec.load_schema(int.from_bytes(value[1:5], "big"))
    assert codec.decode(value) == ("tests.demo.Everything", everything())


async def test_a_model_may_become_known_after_its_schema(make: Callable[..., Registry]) -> None:
    value = Codec(shipped(), make()).encode(everything(), TOPIC)
    codec = Codec(Catalog(), make())
    await codec.load_schema(int.from_bytes(value[1:5], "big"))
    with pytest.raises(UnknownJobType):
        codec.decode(value)
    codec.catalog.add_model(Everything)
    assert codec.decode(value) == ("tests.demo.Everything", everything())


# --- Producers


@pytest.fixture
def settings(kafka: str, namespace: str) -> ProducerSettings:
    """A broker with a topic for the e-mails of one test, of one partition, so that all order can be seen."""
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(f"{namespace}.email", 1)])[f"{namespace}.email"].result(timeout=30)
    return ProducerSettings(bootstrap_servers=kafka, namespace=namespace)


def numbered(number: int) -> SendEmail:
    return SendEmail(to=["a@example.com"], subject=str(number), text="")


async def published(settings: ProducerSettings, registry: Registry) -> list[str]:
    """The subjects of the e-mails on the topic, in their order; all are in Confluent's framing."""
    reader, subjects = Codec(shipped(), registry), list[str]()
    for record in read_all(settings.bootstrap_servers, f"{settings.namespace}.email"):
        assert record.value is not None
        assert record.value[:1] == b"\x00"
        if (schema_id := reader.missing_schema_id(record.value)) is not None:
            await reader.load_schema(schema_id)
        subjects.append(reader.decode(record.value)[1].subject)
    return subjects


async def test_a_producer_registers_and_publishes(settings: ProducerSettings, make: Callable[..., Registry]) -> None:
    with JobProducer(settings, codec=Codec(shipped(), make())) as producer:
        for number in range(3):
            producer.publish(numbered(number), key="k")
    assert await published(settings, make()) == ["0", "1", "2"]


async def test_an_async_producer_registers_beside_the_loop_and_keeps_the_order(
    settings: ProducerSettings, make: Callable[..., Registry], server: RegistryServer
) -> None:
    """Also of a job that comes when the schema is known and earlier ones have not been sent yet."""
    codec = Codec(shipped(), make(timeout=5))
    async with AsyncJobProducer(settings, codec=codec) as producer:
        server.freeze()
        try:
            waiting = [asyncio.create_task(producer.publish(numbered(number), key="k")) for number in range(10)]
            for _ in range(100):
                await asyncio.sleep(0.001)
            assert not any(task.done() for task in waiting), "the loop turns while the registry is asked"
        finally:
            server.thaw()
        while not codec.is_prepared(SendEmail, f"{settings.namespace}.email"):  # noqa: ASYNC110 - at the very turn
            await asyncio.sleep(0)
        await producer.publish(numbered(10), key="k")
        assert all(task.done() for task in waiting)
        await producer.publish_many([(numbered(11), "k"), (numbered(12), "k")])
    assert await published(settings, make()) == [str(number) for number in range(13)]


async def test_an_async_producer_without_its_registry_sends_nothing_and_goes_on_when_it_is_back(
    settings: ProducerSettings, make: Callable[..., Registry], server: RegistryServer
) -> None:
    async with AsyncJobProducer(settings, codec=Codec(shipped(), make(timeout=60.0))) as producer:
        server.kill()
        try:
            for number in range(2):
                with pytest.raises(RegistryUnavailable):
                    await producer.publish(numbered(number), key="k")
            with pytest.raises(RegistryUnavailable):
                await producer.publish_many([numbered(2)])
        finally:
            server.start()
        handle = await producer.publish(numbered(3), key="k")
        assert (await handle).offset == 0
    assert await published(settings, make()) == ["3"]
