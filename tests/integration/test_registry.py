"""The registry path against a real registry: Apicurio's, through Confluent's API."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import fastavro
import psutil
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from pydantic import SecretStr

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
        made.append(Registry(RegistrySettings(**{"url": server.url, "timeout": 2.0, **settings})))
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
        began = time.monotonic()
        with pytest.raises(RegistryUnavailable):
            await reader.load_schema(schema_id)
        assert 0.4 < time.monotonic() - began < 3
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


@pytest.fixture
def answers() -> Iterator[Callable[..., str]]:
    """Servers that answer everything with one status and body, as proxies, gateways and wrong URLs do.

    With `subjects`, they answer with these where a registry lists its subjects.
    """
    servers: list[ThreadingHTTPServer] = []

    def serve(status: int, body: str, subjects: str | None = None) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listing = subjects is not None and self.path.startswith("/subjects")
                self.send_response(200 if listing else status)
                self.end_headers()
                self.wfile.write((subjects or "" if listing else body).encode())

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, "no such page"), (404, '{"error_code": 404}'), (401, "{}"), (403, "{}"), (429, "slow down"), (500, ""),
     (503, "<html>"), (200, "no JSON"), (200, "[]"), (200, "{}"), (204, "")],
)  # fmt: skip
async def test_only_a_plain_no_gives_a_job_up(answers: Callable[[int, str], str], status: int, body: str) -> None:
    """A wrong URL, wrong credentials or a gateway in between must not turn good jobs into dead letters."""
    registry = Registry(RegistrySettings(url=answers(status, body)))
    codec = Codec(shipped(), registry)
    with pytest.raises(RegistryUnavailable):
        await codec.load_schema(7)
    assert codec.missing_schema_id(b"\x00\x00\x00\x00\x07body") == 7
    registry.close()


@pytest.mark.parametrize("code", [40401, 40402, 40403])
async def test_registries_say_in_several_ways_that_there_is_no_such_schema(
    answers: Callable[..., str], code: int
) -> None:
    registry = Registry(RegistrySettings(url=answers(404, json.dumps({"error_code": code}))))
    with pytest.raises(UnknownSchema, match="schema id 7"):
        await Codec(shipped(), registry).load_schema(7)
    registry.close()


@pytest.mark.parametrize("subjects", ["[]", '["a", "b"]'])
async def test_a_plain_404_of_a_registry_that_answers_otherwise_is_a_no(
    answers: Callable[..., str], subjects: str
) -> None:
    registry = Registry(RegistrySettings(url=answers(404, '{"error_code": 404, "message": "no"}', subjects)))
    with pytest.raises(UnknownSchema, match="schema id 7"):
        await Codec(shipped(), registry).load_schema(7)
    registry.close()


@pytest.mark.parametrize(
    ("status", "body", "subjects"),
    [
        (404, "<html>no such page</html>", "[]"),
        (404, "{}", "[]"),
        (404, '{"error_code": 404}', "<html>welcome</html>"),
        (404, '{"error_code": 404}', "{}"),
        (500, '{"error_code": 404}', "[]"),
    ],
)
async def test_what_no_registry_would_say_is_no_no(
    answers: Callable[..., str], status: int, body: str, subjects: str
) -> None:
    registry = Registry(RegistrySettings(url=answers(status, body, subjects)))
    with pytest.raises(RegistryUnavailable):
        await Codec(shipped(), registry).load_schema(7)
    registry.close()


@pytest.mark.parametrize("status", [401, 403])
def test_wrong_credentials_are_named_to_a_producer(answers: Callable[[int, str], str], status: int) -> None:
    registry = Registry(RegistrySettings(url=answers(status, "{}"), basic_auth_user_info=SecretStr("user:wrong")))
    with pytest.raises(RegistryRefused, match="SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO"):
        Codec(shipped(), registry).encode(EMAIL, TOPIC)
    registry.close()


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
