"""Writes a record the way a worker writes a retry, and waits for it."""

from __future__ import annotations

import asyncio

from streams.kafka.producer.sender import ReliableSender
from streams.ports.records import OutgoingRecord
from streams.worker.outcomes.pending_writes import PendingWrite


async def append(sender: ReliableSender, record: OutgoingRecord) -> int | None:
    """The offset of a record whose place must be known, when the broker has it."""
    written: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    def told(_write: PendingWrite, offset: int | None) -> None:
        written.set_result(offset)

    def failed(_write: PendingWrite, error: BaseException) -> None:
        written.set_exception(error)

    write = PendingWrite(sender, record, told, failed, needs_offset=True)
    write.start()
    try:
        return await written
    except asyncio.CancelledError:
        write.cancel()
        raise
