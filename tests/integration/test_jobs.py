"""The shipped handlers against real servers: SMTP with and without TLS, HTTP and HTTPS."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import ssl
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import aiosmtplib
import pytest
import trustme
from aiohttp import web
from aiosmtpd import smtp as smtpd
from aiosmtpd.handlers import Message
from yarl import URL

from schemas.models.email import SendEmail
from schemas.models.webhook import DeliverWebhook
from streams import JobContext, PermanentError
from streams.jobs.email import send_email
from streams.jobs.support.errors import (
    DeliveryRejected,
    MailRefused,
    NotConfigured,
    ReceiverGone,
    RecipientsRefused,
    Refused,
    ShippedJobError,
)
from streams.jobs.support.smtp import smtp_settings
from streams.jobs.webhook import deliver_webhook, webhook_settings

JOB_ID = "019a7c1e-5d9b-7cc3-9d6e-0242ac120002"
KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.fixture
def ctx() -> JobContext:
    return JobContext(JOB_ID, "queue")


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    """Each test reads its own environment."""
    smtp_settings.cache_clear()
    webhook_settings.cache_clear()
    yield
    smtp_settings.cache_clear()
    webhook_settings.cache_clear()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate, which clients of this process trust from now on."""
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


class Mailbox(Message):
    """Keeps what it receives; refuses recipients named `full` for good, and those named `grey` for now."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Any] = []

    def handle_message(self, message: Any) -> None:
        self.received.append(message)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: smtpd.SMTP, session: smtpd.Session, envelope: smtpd.Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("full@"):
            return "552 mailbox full"
        if address.startswith("grey@"):
            return "450 not yet"
        envelope.rcpt_tos.append(address)
        return "250 OK"


@asynccontextmanager
async def smtp_server(**options: Any) -> AsyncIterator[tuple[Mailbox, int]]:
    """A mail server; gives its mailbox and port."""
    loop, mailbox = asyncio.get_running_loop(), Mailbox()
    server = await loop.create_server(lambda: smtpd.SMTP(mailbox, loop=loop, **options), "127.0.0.1", 0)
    yield mailbox, int(server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()


@pytest.fixture
async def smtp(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mailbox]:
    async with smtp_server() as (mailbox, port):
        monkeypatch.setenv("STREAMS_SMTP_PORT", str(port))
        monkeypatch.setenv("STREAMS_SMTP_SENDER", "Shop <shop@example.com>")
        yield mailbox


def email(**fields: Any) -> SendEmail:
    return SendEmail(**{"to": ["ada@example.com"], "subject": "Grüße", "text": "Good morning\n.\nÄ", **fields})


async def test_a_mail_arrives(smtp: Mailbox, ctx: JobContext) -> None:
    await send_email(email(to=["ada@example.com", "Bob <bob@example.org>"], html="<p>Hi</p>"), ctx)
    (message,) = smtp.received
    assert message["X-RcptTo"] == "ada@example.com, bob@example.org"
    assert message["X-MailFrom"] == "shop@example.com"
    assert message["Message-ID"] == f"<{JOB_ID}@example.com>"
    assert message["X-Job-Id"] == JOB_ID
    text, html = message.get_payload()
    assert text.get_payload(decode=True).decode().split() == ["Good", "morning", ".", "Ä"]
    assert html.get_content_type() == "text/html"


async def test_another_run_sends_under_the_same_message_id(smtp: Mailbox, ctx: JobContext) -> None:
    await send_email(email(), ctx)
    await send_email(email(), ctx)
    assert len({message["Message-ID"] for message in smtp.received}) == 1


async def test_refused_recipients_are_named(smtp: Mailbox, ctx: JobContext) -> None:
    with pytest.raises(RecipientsRefused, match=r"full@example.com: 552 mailbox full") as refusal:
        await send_email(email(to=["full@example.com", "ada@example.com"]), ctx)
    assert list(refusal.value.refused) == ["full@example.com"]
    assert [message["X-RcptTo"] for message in smtp.received] == ["ada@example.com"]


@pytest.mark.parametrize(("to", "permanent"), [("full", True), ("grey", False)])
async def test_a_mail_that_is_refused_for_good_is_not_tried_again(
    smtp: Mailbox, ctx: JobContext, to: str, permanent: bool
) -> None:
    with pytest.raises((MailRefused, aiosmtplib.SMTPRecipientsRefused)) as refusal:
        await send_email(email(to=[f"{to}@example.com"]), ctx)
    assert isinstance(refusal.value, PermanentError) is permanent


async def test_nothing_is_sent_for_a_wrong_address(smtp: Mailbox, ctx: JobContext) -> None:
    with pytest.raises(Refused, match=r"to\[1\] is no e-mail address"):
        await send_email(email(to=["ada@example.com", "nobody"]), ctx)
    assert smtp.received == []


async def test_a_mail_server_that_is_away(monkeypatch: pytest.MonkeyPatch, ctx: JobContext) -> None:
    async with smtp_server() as (_, port):
        monkeypatch.setenv("STREAMS_SMTP_PORT", str(port))
    monkeypatch.setenv("STREAMS_SMTP_SENDER", "shop@example.com")
    with pytest.raises(aiosmtplib.SMTPConnectError):
        await send_email(email(), ctx)


def _login(
    server: smtpd.SMTP, session: smtpd.Session, envelope: smtpd.Envelope, mechanism: str, data: Any
) -> smtpd.AuthResult:
    good = isinstance(data, smtpd.LoginPassword) and (data.login, data.password) == (b"ada", b"secret")
    return smtpd.AuthResult(success=good, handled=good)


async def test_starttls_and_login(server_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, ctx: JobContext) -> None:
    options = {"tls_context": server_tls, "require_starttls": True, "auth_required": True, "authenticator": _login}
    async with smtp_server(**options) as (mailbox, port):
        for name, value in {
            "HOST": "localhost",
            "PORT": str(port),
            "TLS": "starttls",
            "USERNAME": "ada",
            "PASSWORD": "secret",
            "SENDER": "shop@example.com",
        }.items():
            monkeypatch.setenv(f"STREAMS_SMTP_{name}", value)
        await send_email(email(), ctx)
        assert len(mailbox.received) == 1

        monkeypatch.setenv("STREAMS_SMTP_PASSWORD", "wrong")
        smtp_settings.cache_clear()
        with pytest.raises(aiosmtplib.SMTPAuthenticationError):
            await send_email(email(), ctx)


async def test_a_mail_server_nobody_vouches_for(
    server_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, ctx: JobContext
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    async with smtp_server(tls_context=server_tls) as (mailbox, port):
        monkeypatch.setenv("STREAMS_SMTP_PORT", str(port))
        monkeypatch.setenv("STREAMS_SMTP_TLS", "starttls")
        monkeypatch.setenv("STREAMS_SMTP_SENDER", "shop@example.com")
        with pytest.raises((aiosmtplib.SMTPException, ssl.SSLError), match="certificate"):
            await send_email(email(), ctx)
        assert mailbox.received == []


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Endpoint:
    """An HTTP server that keeps what it receives and answers what a test sets."""

    def __init__(self) -> None:
        self.requests: list[tuple[web.Request, bytes]] = []
        self.answer: Answer = _ok
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request, await request.read()))
        return await self.answer(request)


async def _ok(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=204)


async def _serve(endpoint: Endpoint, tls: ssl.SSLContext | None = None) -> web.AppRunner:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", endpoint.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    scheme, port = ("https" if tls else "http"), runner.addresses[0][1]
    endpoint.url = f"{scheme}://localhost:{port}"
    return runner


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Endpoint]:
    monkeypatch.setenv("STREAMS_WEBHOOK_ALLOW_PRIVATE", "true")
    monkeypatch.setenv("STREAMS_WEBHOOK_SECRETS", json.dumps({"shop": SECRET}))
    monkeypatch.setenv("STREAMS_WEBHOOK_TIMEOUT", "2")
    endpoint = Endpoint()
    runner = await _serve(endpoint)
    yield endpoint
    await runner.cleanup()


def webhook(url: str, **fields: Any) -> DeliverWebhook:
    return DeliverWebhook(**{"url": url, "event": "order.paid", "body": '{"order":  7, "ü": "é"}', **fields})


async def test_a_signed_delivery(endpoint: Endpoint, ctx: JobContext) -> None:
    await deliver_webhook(webhook(f"{endpoint.url}/hook?a=1", secret_name="shop", headers={"X-Tenant": "é7"}), ctx)
    ((request, body),) = endpoint.requests
    assert (request.method, request.path_qs) == ("POST", "/hook?a=1")
    assert body == '{"order":  7, "ü": "é"}'.encode()
    assert request.headers["content-type"] == "application/json"
    assert request.headers["X-Tenant"] == "é7"
    assert request.headers["webhook-event"] == "order.paid"
    webhook_id, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    assert webhook_id == JOB_ID
    assert abs(int(timestamp) - time.time()) < 5
    digest = hmac.new(KEY, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


async def test_without_a_secret_it_is_not_signed(endpoint: Endpoint, ctx: JobContext) -> None:
    await deliver_webhook(webhook(endpoint.url, headers={"Content-Type": "application/cloudevents+json"}), ctx)
    ((request, _),) = endpoint.requests
    assert "webhook-signature" not in request.headers
    assert request.headers.getall("content-type") == ["application/cloudevents+json"]


async def test_an_unknown_secret(endpoint: Endpoint, ctx: JobContext) -> None:
    with pytest.raises(NotConfigured, match="STREAMS_WEBHOOK_SECRETS has no secret 'other'"):
        await deliver_webhook(webhook(endpoint.url, secret_name="other"), ctx)
    assert endpoint.requests == []


async def test_a_https_server_nobody_vouches_for(authority: trustme.CA, endpoint: Endpoint, ctx: JobContext) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    secure = Endpoint()
    runner = await _serve(secure, tls)
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await deliver_webhook(webhook(secure.url), ctx)
    await runner.cleanup()
    assert secure.requests == []


async def test_a_status_that_is_no_success(endpoint: Endpoint, ctx: JobContext) -> None:
    async def gone(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=410, text="no such\nhook é" + "x" * 5_000_000)

    endpoint.answer = gone
    with pytest.raises(ReceiverGone) as rejection:
        await deliver_webhook(webhook(f"{endpoint.url}/hook?token=secret"), ctx)
    assert str(rejection.value) == f"{endpoint.url} answered 410 Gone: no such hook é" + "x" * 186


async def test_no_part_of_an_address_that_may_be_secret_is_told(endpoint: Endpoint, ctx: JobContext) -> None:
    """Neither by the delivery, nor by a receiver that repeats it, in no error and no traceback of one."""
    user, path, query, header = "us3rs3cret", "/services/p4ths3cret", "token=qu3rys3cret", "h34ders3cret"
    address = URL(endpoint.url).with_user(user).with_password("passs3cret")
    url = f"{str(address).rstrip('/')}{path}?{query}"

    async def repeating(request: web.Request) -> web.StreamResponse:
        return web.Response(
            status=500, text=f"no {request.path} with {request.query_string}, {request.path_qs}, {user}"
        )

    async def babbling(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"no HTTP of " + request.path_qs.encode() + b"\r\n\r\n")
        request.transport.close()
        return web.Response()

    odd = {"X-Key": f"{header}\n"}
    deliveries = [
        (repeating, webhook(url)),
        (babbling, webhook(url)),
        (repeating, webhook(url, headers=odd)),
        (repeating, webhook(url.replace("http://", "htp://"))),
        (repeating, webhook(url.replace("127.0.0.1", "127.0.0.1.."))),
        (repeating, webhook(url.replace("127.0.0.1", "nowhere.invalid"))),
    ]
    for answer, job in deliveries:
        endpoint.answer = answer
        with pytest.raises((ShippedJobError, aiohttp.ClientError)) as failure:
            await deliver_webhook(job, ctx)
        told = "".join(traceback.format_exception(failure.value))
        assert re.findall(r"\w*s3cret\w*", told) == [], told


@pytest.mark.parametrize(("status", "permanent"), [(410, True), (404, False), (429, False), (503, False)])
async def test_only_a_receiver_that_is_gone_is_not_tried_again(
    endpoint: Endpoint, ctx: JobContext, status: int, permanent: bool
) -> None:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    endpoint.answer = refuse
    with pytest.raises(DeliveryRejected) as rejection:
        await deliver_webhook(webhook(f"{endpoint.url}/hook"), ctx)
    assert isinstance(rejection.value, PermanentError) is permanent


async def test_redirects_are_not_followed(endpoint: Endpoint, ctx: JobContext) -> None:
    async def elsewhere(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect(f"{endpoint.url}/other")

    endpoint.answer = elsewhere
    with pytest.raises(DeliveryRejected, match="answered 307"):
        await deliver_webhook(webhook(f"{endpoint.url}/hook"), ctx)
    assert [request.path for request, _ in endpoint.requests] == ["/hook"]


async def test_a_compressed_answer_is_not_unpacked(endpoint: Endpoint, ctx: JobContext) -> None:
    async def packed(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=500, body=b"\x1f\x8b not gzip at all", headers={"content-encoding": "gzip"})

    endpoint.answer = packed
    with pytest.raises(DeliveryRejected, match=r"answered 500 .* not gzip at all"):
        await deliver_webhook(webhook(endpoint.url), ctx)


async def test_time_is_up(endpoint: Endpoint, ctx: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setenv("STREAMS_WEBHOOK_TIMEOUT", "0.2")
    webhook_settings.cache_clear()
    endpoint.answer = never
    with pytest.raises(DeliveryRejected, match=r"did not answer within 0\.2 s"):
        await deliver_webhook(webhook(endpoint.url), ctx)


async def test_an_answer_that_drips(endpoint: Endpoint, ctx: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dripping(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    monkeypatch.setenv("STREAMS_WEBHOOK_TIMEOUT", "0.3")
    webhook_settings.cache_clear()
    endpoint.answer = dripping
    with pytest.raises(DeliveryRejected, match=r"did not answer within 0\.3 s"):
        await deliver_webhook(webhook(endpoint.url), ctx)


@pytest.mark.parametrize(
    "url",
    ["", "hook", "/hook", "ftp://example.com/", "file:///etc/passwd", "http://", "http://[::1", "http://a:99999/"],
)
async def test_what_is_no_address_of_a_webhook(url: str, endpoint: Endpoint, ctx: JobContext) -> None:
    with pytest.raises(Refused, match="url must be http:// or https:// with a host"):
        await deliver_webhook(webhook(url), ctx)


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]"],
)
async def test_private_addresses_are_not_connected_to(
    host: str, endpoint: Endpoint, ctx: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STREAMS_WEBHOOK_ALLOW_PRIVATE")
    webhook_settings.cache_clear()
    port = endpoint.url.rpartition(":")[2]
    with pytest.raises(
        Refused, match=r"has no public address; STREAMS_WEBHOOK_ALLOW_PRIVATE=true|not a canonical IPv4 address"
    ):
        await deliver_webhook(webhook(f"http://{host}:{port}/"), ctx)
    assert endpoint.requests == []


async def test_no_proxy_of_the_environment_is_used(
    endpoint: Endpoint, ctx: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would resolve the host itself, behind the check."""
    monkeypatch.delenv("STREAMS_WEBHOOK_ALLOW_PRIVATE")
    monkeypatch.setenv("HTTP_PROXY", endpoint.url)
    webhook_settings.cache_clear()
    with pytest.raises(Refused, match="has no public address"):
        await deliver_webhook(webhook("http://127.0.0.1/"), ctx)
    assert endpoint.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        {"webhook-id": "forged"},
        {"Webhook-Signature": "v1,forged"},
        {"Content-Length": "1"},
        {"Host": "other"},
        {"Transfer-Encoding": "chunked"},
        {"X-A": "b\r\nX-C: d"},
        {"X-A\r\nX-C": "d"},
        {"": "d"},
        {"X A": "d"},
    ],
)
async def test_headers_that_are_refused(headers: dict[str, str], endpoint: Endpoint, ctx: JobContext) -> None:
    with pytest.raises(Refused, match="headers"):
        await deliver_webhook(webhook(endpoint.url, headers=headers), ctx)
    with pytest.raises(Refused, match="event must be one line"):
        await deliver_webhook(webhook(endpoint.url, event="a\r\nb: c"), ctx)
    assert endpoint.requests == []
