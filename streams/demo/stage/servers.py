"""The local servers of the demonstration: one that keeps mail, and a receiver of webhooks."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import secrets
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from time import monotonic

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

from streams.jobs.support.signature import secret_key, sign


class Mailbox:
    """The mail received, by the id of the job that sent it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._mail: dict[str, tuple[EmailMessage, list[str]]] = {}

    def received(self, job_id: str) -> tuple[EmailMessage, list[str]] | None:
        """A job's mail and its recipients."""
        return self._mail.get(job_id)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Keep a mail."""
        message = message_from_bytes(envelope.content or b"", policy=policy.default)  # type: ignore[arg-type]
        self._mail[str(message["X-Job-Id"])] = (message, list(envelope.rcpt_tos))
        return "250 OK"


@asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    """Serve SMTP on a free port of this machine."""
    loop, listening = asyncio.get_running_loop(), _free_port()
    box = Mailbox(listening.getsockname()[1])
    server = await loop.create_server(lambda: SMTP(box, loop=loop), sock=listening)
    try:
        yield box
    finally:
        server.close()


class Endpoint:
    """Answers webhooks and keeps when each delivery began and ended, and which it has failed."""

    def __init__(self, url: str) -> None:
        self.url = url
        #: What signs the deliveries, as STREAMS_WEBHOOK_SECRETS has it.
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        #: When the first delivery of each job began and ended, by job id.
        self.deliveries: dict[str, tuple[float, float]] = {}
        #: How many deliveries of a job were answered with a failure.
        self.failures: Counter[str] = Counter()

    async def deliver(self, request: web.Request) -> web.Response:
        """Take a delivery; the body may ask for it to be slow, or to fail some times before."""
        began, body = monotonic(), await request.read()
        if not self._signed(request, body):
            return web.Response(status=401, text="the signature is wrong")
        asked, job_id = json.loads(body), request.headers["webhook-id"]
        if self.failures[job_id] < asked.get("failures", 0):
            self.failures[job_id] += 1
            return web.Response(status=503, text="not now")
        await asyncio.sleep(float(asked.get("takes_seconds", 0)))
        self.deliveries.setdefault(job_id, (began, monotonic()))
        return web.Response(status=204)

    def by_beginning(self) -> list[str]:
        """The ids of the jobs delivered, in the order their deliveries began."""
        return sorted(self.deliveries, key=self.deliveries.__getitem__)

    async def gone(self, _request: web.Request) -> web.Response:
        """Refuse a delivery."""
        return web.Response(status=410, text="nobody subscribes to this any more")

    def _signed(self, request: web.Request, body: bytes) -> bool:
        job_id, at = request.headers["webhook-id"], int(request.headers["webhook-timestamp"])
        expected = sign(secret_key(self.secret), job_id, at, body)
        return hmac.compare_digest(expected, request.headers.get("webhook-signature", ""))


@asynccontextmanager
async def endpoint() -> AsyncIterator[Endpoint]:
    """Serve HTTP on a free port of this machine."""
    listening, app = _free_port(), web.Application()
    receiver = Endpoint(f"http://127.0.0.1:{listening.getsockname()[1]}")
    app.add_routes([web.post("/orders", receiver.deliver), web.post("/gone", receiver.gone)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield receiver
    finally:
        await runner.cleanup()


def _free_port() -> socket.socket:
    """A socket that listens on a free port of this machine."""
    return socket.create_server(("127.0.0.1", 0))
