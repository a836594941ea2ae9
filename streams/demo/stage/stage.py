"""Everything the demonstration runs on: broker, servers, worker, producer."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from producers import AsyncJobProducer, ProducerSettings
from streams.demo.examples import SIGNED_BY
from streams.demo.screen import Screen
from streams.demo.stage.processes import Worker, broker, worker
from streams.demo.stage.servers import Endpoint, Mailbox, endpoint, mailbox

#: The module with the demonstration's own queue.
_JOBS = "streams.demo.unsteady"

#: A broker that has just started makes librdkafka grumble on stderr; what fails for good is raised.
_CALM = {"log_level": 3}


@dataclass(frozen=True, slots=True)
class Stage:
    """What is running."""

    settings: ProducerSettings
    images: Path
    mailbox: Mailbox
    endpoint: Endpoint
    worker: Worker
    producer: AsyncJobProducer


@asynccontextmanager
async def stage(screen: Screen, runs: Path, data: Path | None) -> AsyncIterator[Stage]:
    """Start everything, in order; stop it in the opposite order. Raises DemoFailed when something does not start."""
    async with AsyncExitStack() as running:
        bootstrap = await running.enter_async_context(broker(screen, runs, data))
        settings = ProducerSettings(
            bootstrap_servers=bootstrap, namespace=os.environ.get("STREAMS_NAMESPACE") or "demo", source="demo"
        )
        mail = await running.enter_async_context(mailbox())
        receiver = await running.enter_async_context(endpoint())
        screen.fact("servers", f"SMTP on 127.0.0.1:{mail.port}, webhooks at {receiver.url}")
        images = (runs / "images").resolve()
        environment = _environment(settings, images, mail, receiver)
        consumer = await running.enter_async_context(worker(screen, runs, environment))
        producer = await running.enter_async_context(AsyncJobProducer(settings, client_options=_CALM))
        yield Stage(settings, images, mail, receiver, consumer, producer)


def _environment(settings: ProducerSettings, images: Path, mail: Mailbox, receiver: Endpoint) -> Mapping[str, str]:
    """The worker's environment: ours, with the demonstration's own servers."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMS_SMTP_")}
    return {
        **inherited,
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "STREAMS_NAMESPACE": settings.namespace,
        "STREAMS_POOL": "default",
        "STREAMS_SHIPPED_JOBS": "true",
        "STREAMS_JOBS": ",".join(filter(None, [_JOBS, inherited.get("STREAMS_JOBS")])),
        "STREAMS_LOG_JOBS": "true",
        "STREAMS_SMTP_HOST": "127.0.0.1",
        "STREAMS_SMTP_PORT": str(mail.port),
        "STREAMS_SMTP_SENDER": "Shop <shop@example.com>",
        "STREAMS_IMAGE_ROOT": str(images),
        "STREAMS_WEBHOOK_SECRETS": json.dumps({SIGNED_BY: receiver.secret}),
        "STREAMS_WEBHOOK_ALLOW_PRIVATE": "true",
    }
