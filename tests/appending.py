"""Writes a record the way a worker writes a retry, and waits for it."""

from __future__ import annotations

import asyncio

from streams.kafka.producer.sender import Sender
from streams.ports.records import Outgoing
from streams.worker.outcomes.pending_writes import Append


async def append(sender: Sender, record: Outgoing) -> int | None:
    """The offset of a record whose place must be known, when the broker has it."""
    written: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    def told(_write: Append, offset: int | None) -> None:
        written.set_result(offset)

    def failed(_write: Append, error: BaseException) -> None:
        written.set_exception(error)

    write = Append(sender, record, told, failed, placed=True)
    write.start()
    try:
        return await written
    except asyncio.CancelledError:
        write.cancel()
        raise
