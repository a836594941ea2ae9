"""A local receiver of webhooks: it checks signatures, may take its time, and knows a path that is gone."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from aiohttp import web

from streams.jobs.support.signature import secret_key, sign

#: At which try the flaky path takes a delivery.
TRIES = 3


class Endpoint:
    """Answers webhooks and keeps when each delivery began and ended."""

    def __init__(self) -> None:
        self.url = ""
        #: What signs the deliveries, as STREAMS_WEBHOOK_SECRETS has it.
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        #: When the first delivery of each job began and ended, by job id.
        self.deliveries: dict[str, tuple[float, float]] = {}
        #: How often the flaky path was tried, by job id.
        self.tries: Counter[str] = Counter()

    async def deliver(self, request: web.Request) -> web.Response:
        """Take a delivery; the body may ask for it to be slow."""
        began, body = monotonic(), await request.read()
        if not self._signed(request, body):
            return web.Response(status=401, text="the signature is wrong")
        await asyncio.sleep(float(json.loads(body).get("takes_seconds", 0)))
        self.deliveries.setdefault(request.headers["webhook-id"], (began, monotonic()))
        return web.Response(status=204)

    def by_beginning(self) -> list[str]:
        """The ids of the jobs delivered, in the order their deliveries began."""
        return sorted(self.deliveries, key=self.deliveries.__getitem__)

    async def flaky(self, request: web.Request) -> web.Response:
        """Take a delivery at the third try."""
        job_id = request.headers["webhook-id"]
        self.tries[job_id] += 1
        if self.tries[job_id] < TRIES:
            return web.Response(status=503, text="come again later")
        return await self.deliver(request)

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
    receiver, app = Endpoint(), web.Application()
    routes = {"/orders": receiver.deliver, "/flaky": receiver.flaky, "/gone": receiver.gone}
    app.add_routes([web.post(path, handler) for path, handler in routes.items()])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()
