"""Writes a record the way a worker writes a retry, and waits for it."""

from __future__ import annotations

import asyncio

from streams.ports.records import OutgoingRecord
from streams.ports.writer import RecordWriter


async def append(writer: RecordWriter, record: OutgoingRecord) -> int | None:
    """The offset of a record whose place must be known, when the broker has it."""
    written: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    def told(error: BaseException | None, offset: int | None) -> None:
        if error is None:
            written.set_result(offset)
        else:
            written.set_exception(error)

    write = writer.append(record, told, needs_offset=True)
    try:
        return await written
    except asyncio.CancelledError:
        write.cancel()
        raise
