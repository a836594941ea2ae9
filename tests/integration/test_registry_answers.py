"""What a registry's, a proxy's or a wrong URL's answers are taken for."""

from __future__ import annotations

import json
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from schemas import Codec, Registry, RegistryRefused, RegistrySettings, RegistryUnavailable, UnknownSchema, shipped
from schemas.errors import UnusableSchema
from schemas.models.email import SendEmail
from schemas.registry import without_secrets
from tests.unit.schemas.test_hostile_bytes import lattice

EMAIL = SendEmail(to=["a@example.com"], subject="s", text="t")


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
        Codec(shipped(), registry).encode(EMAIL, "any")
    registry.close()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"schema": "{}", "schemaType": "JSON"}, "is JSON; a job's is AVRO"),
        ({"schema": "syntax", "schemaType": "PROTOBUF"}, "is PROTOBUF; a job's is AVRO"),
        (
            {"schema": '"string"', "references": [{"name": "a.B", "subject": "a.B", "version": 1}]},
            "refers to other schemas; write it in one piece",
        ),
        ({"schema": '"string"'}, "the schema of a job is a record"),
        ({"schema": "{"}, "not a valid Avro schema"),
    ],
)
async def test_why_a_schema_of_the_registry_cannot_be_used_reaches_every_value_of_it(
    answers: Callable[[int, str], str], fields: dict[str, object], reason: str
) -> None:
    codec = Codec(shipped(), Registry(RegistrySettings(url=answers(200, json.dumps(fields)))))
    with suppress(UnusableSchema):
        await codec.load_schema(7)
    for _ in range(2):
        with pytest.raises(UnusableSchema, match=f"schema id 7 of the registry.*{reason}"):
            codec.decode(b"\x00\x00\x00\x00\x07body")


@pytest.mark.parametrize(
    ("status", "body", "remedy"),
    [
        (401, '{"error_code": 401, "message": "no"}', "check SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO"),
        (403, '{"error_code": 403, "message": "no"}', "check SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO"),
        (404, "no such page", "check that SCHEMA_REGISTRY_URL is the address of its API"),
    ],
)
async def test_what_keeps_a_registry_from_answering_says_what_to_do_and_no_secret(
    answers: Callable[[int, str], str], status: int, body: str, remedy: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = answers(status, body).replace("//", "//user:hunter2@")
    codec = Codec(shipped(), Registry(RegistrySettings(url=url)))
    with pytest.raises(RegistryUnavailable, match=remedy) as raised:
        await codec.load_schema(7)
    assert "hunter2" not in "".join(traceback.format_exception(raised.value)) + caplog.text


async def test_an_address_that_nobody_answers_at_is_told_without_its_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    codec = Codec(shipped(), Registry(RegistrySettings(url=f"http://user:hunter2@127.0.0.1:{port}")))
    with pytest.raises(RegistryUnavailable, match=str(port)) as raised:
        await codec.load_schema(7)
    with pytest.raises(RegistryUnavailable) as published:
        codec.encode(EMAIL, "any")
    for error in (raised.value, published.value):
        assert "hunter2" not in "".join(traceback.format_exception(error))
    assert "hunter2" not in caplog.text


def test_addresses_are_shown_without_what_may_be_secret() -> None:
    shown = without_secrets("GET https://user:p@ss@host:81/a?token=hunter2 failed, so did http://host/b and a@b")
    assert shown == "GET https://***@host:81/a?*** failed, so did http://host/b and a@b"


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hun/ter2@host:81",
        "http://user:hun?ter2@host",
        "http://us er:hunter2@host",
        "user:hunter2@host:81",
        "http://host:81,http://user:hun#ter2@host",
    ],
)
def test_a_password_in_an_address_that_is_none_is_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="Invalid url: ") as refused:
        Registry(RegistrySettings(url=url))
    shown = "".join(traceback.format_exception(refused.value))
    assert not {part for part in ("hun", "ter2") if part in shown.replace("test_registry_answers", "")}


async def test_a_schema_that_stands_for_too_much_keeps_nobody_waiting(answers: Callable[[int, str], str]) -> None:
    codec = Codec(shipped(), Registry(RegistrySettings(url=answers(200, json.dumps({"schema": lattice(28)})))))
    await codec.load_schema(7)
    with pytest.raises(UnusableSchema, match="STREAMS_MAX_SCHEMA_NODES"):
        codec.decode(b"\x00\x00\x00\x00\x07body")


def test_a_login_within_the_address_is_used() -> None:
    config = RegistrySettings(url="http://user:p%40ss@host:81, http://host:82").client_config()
    assert (config["url"], config["basic.auth.user.info"]) == ("http://host:81, http://host:82", "user:p@ss")
