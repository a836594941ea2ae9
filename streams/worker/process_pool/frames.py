"""What worker and pool process send each other: frames of a kind, a length and a body."""

from __future__ import annotations

import asyncio
import socket
import struct
from enum import IntEnum

_HEAD = struct.Struct("!BI")


class Kind(IntEnum):
    """What a frame is."""

    #: To the process: run this job.
    JOB = 0
    #: From the process: it can take jobs.
    READY = 1
    #: It cannot, and why.
    UNFIT = 2
    #: How the run has ended.
    ENDED = 3
    #: A line for the log.
    LINE = 4


def frame(kind: Kind, body: bytes) -> bytes:
    """A frame as it is sent."""
    return _HEAD.pack(kind, len(body)) + body


def receive(connection: socket.socket) -> tuple[Kind, bytes] | None:
    """The next frame, or None when the other end has closed. Blocks."""
    head = _exactly(connection, _HEAD.size)
    if head is None:
        return None
    kind, size = _HEAD.unpack(head)
    body = _exactly(connection, size)
    return None if body is None else (Kind(kind), body)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = []
    while size:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


async def read(reader: asyncio.StreamReader) -> tuple[Kind, bytes] | None:
    """The next frame, or None when the other end has closed or died, even in the middle of one."""
    try:
        kind, size = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        return Kind(kind), await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
