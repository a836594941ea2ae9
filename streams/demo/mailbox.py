"""A local mail server that keeps what it receives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, Envelope, Session


class Mailbox:
    """The mail received, by the id of the job that sent it."""

    def __init__(self) -> None:
        self.port = 0
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
    loop, box = asyncio.get_running_loop(), Mailbox()
    server = await loop.create_server(lambda: SMTP(box, loop=loop), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
