"""A network between clients and brokers that can be made to fail as networks do."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

_BYTES = 65_536
#: Closes with a reset, and not with a farewell.
_RESET = struct.pack("ii", 1, 0)


class Way(Enum):
    """How a network fails."""

    DROP = "connections are reset, and new ones too"
    HOLD = "nothing goes through, and nobody is told; what was sent arrives at the end"
    DEAF = "requests go through, and their answers only at the end"
    HALF_OPEN = "the broker's end of each connection is gone, and the client's is open"
    CUT = "connections end in the middle of an answer"
    DELAY = "everything takes longer"
    SLOW = "few bytes go through"


@dataclass(frozen=True)
class Failure:
    """What goes wrong; `concerns` says of a client's port, and a broker's number, whether it is one of those."""

    way: Way
    concerns: Callable[[int, int], bool] = lambda port, broker: True
    #: Of DELAY, for each piece.
    seconds: float = 0.3
    #: Of SLOW, a second.
    rate: int = 20_000


@dataclass(eq=False)
class _Connection:
    port: int
    broker: int
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    failure: Failure | None = None
    well: asyncio.Event = field(default_factory=asyncio.Event)

    def reset(self) -> None:
        for writer in filter(None, (self.client, self.server)):
            _reset(writer)


class Network:
    """Listens on a port for each broker and leads to it. Its methods may be called from any thread."""

    def __init__(self, ways: Mapping[str, str]) -> None:
        """`ways` has the address that each address of ours leads to. They are numbered from 0 up."""
        self._ways = ways
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: Failure | None = None

    def start(self) -> None:
        """Take connections from here on."""
        self._thread.start()
        self._do(self._listen())

    def close(self) -> None:
        """End all connections, if it was started."""
        if not self._thread.is_alive():
            self._loop.close()
            return
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fail(self, failure: Failure) -> None:
        """Fail so from here on."""
        self._do(self._set(failure))

    def recover(self) -> None:
        """Fail no more."""
        self._do(self._set(None))

    def _do(self, what: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    async def _listen(self) -> None:
        for number, (ours, address) in enumerate(self._ways.items()):
            host, port = ours.rsplit(":", 1)
            self._servers.append(await asyncio.start_server(self._taker(number, address), host, int(port)))

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for each in [*self._connections]:
            each.reset()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _taker(self, number: int, address: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            port = writer.get_extra_info("peername")[1]
            task = self._loop.create_task(self._lead(_Connection(port, number, writer), reader, address))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return take

    async def _set(self, failure: Failure | None) -> None:
        self._failure = failure
        for each in [*self._connections]:
            self._fail(each)

    def _fail(self, connection: _Connection) -> None:
        """Have a connection fail as the network does now; or no more."""
        before, now = connection.failure, self._failure
        concerned = now is not None and now.concerns(connection.port, connection.broker)
        connection.failure = now if concerned else None
        if before is not None and before.way is Way.HALF_OPEN:
            connection.reset()
        if connection.failure is None:
            connection.well.set()
            return
        connection.well.clear()
        if connection.failure.way is Way.DROP:
            connection.reset()
        elif connection.failure.way is Way.HALF_OPEN and connection.server is not None:
            _reset(connection.server)

    async def _lead(self, connection: _Connection, reader: asyncio.StreamReader, address: str) -> None:
        self._connections.add(connection)
        try:
            self._fail(connection)
            await self._lead_on(connection, reader, address)
        except OSError:
            connection.reset()
        finally:
            self._connections.discard(connection)
            for writer in filter(None, (connection.client, connection.server)):
                writer.close()

    async def _lead_on(self, connection: _Connection, reader: asyncio.StreamReader, address: str) -> None:
        if connection.failure is not None and connection.failure.way is Way.HALF_OPEN:
            await _swallow(reader)
            return
        host, port = address.rsplit(":", 1)
        back, connection.server = await asyncio.open_connection(host, int(port))
        requests = asyncio.create_task(_pipe(reader, connection.server, connection, answers=False))
        answers = asyncio.create_task(_pipe(back, connection.client, connection, answers=True))
        done = asyncio.gather(requests, answers)
        try:
            await done
        finally:
            done.cancel()
            with suppress(OSError, asyncio.CancelledError):
                await done


async def _pipe(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, connection: _Connection, *, answers: bool
) -> None:
    """Pass on what comes, and the end of it, as the network fails."""
    with suppress(OSError):
        while data := await source.read(_BYTES):
            if await _comes_through(data, target, connection, answers=answers):
                target.write(data)
                await target.drain()
    if connection.failure is not None and connection.failure.way in (Way.HALF_OPEN, Way.HOLD, Way.DEAF):
        await connection.well.wait()
    with suppress(OSError):
        target.write_eof()


async def _comes_through(data: bytes, target: asyncio.StreamWriter, connection: _Connection, *, answers: bool) -> bool:
    """Wait as long as the network makes these bytes wait; whether they arrive."""
    failure = connection.failure
    if failure is None:
        return True
    if failure.way is Way.HOLD or (failure.way is Way.DEAF and answers):
        await connection.well.wait()
    elif failure.way is Way.DELAY:
        await asyncio.sleep(failure.seconds)
    elif failure.way is Way.SLOW:
        await asyncio.sleep(len(data) / failure.rate)
    elif failure.way is Way.CUT and answers:
        target.write(data[: len(data) // 2])
        with suppress(OSError):
            await target.drain()
        connection.client.close()
        return False
    return failure.way is not Way.HALF_OPEN


async def _swallow(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(_BYTES):
            """Nobody reads it."""


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
