"""A way to a broker that ends connections as a broker does that goes away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

_BYTES = 65_536

#: Leads one connection of a client to where it is to go, and closes it.
Lead = Callable[[socket.socket], None]


@dataclass
class Proxy:
    """Where it listens, and how many connections of the client it has ended."""

    address: str
    ended: int = 0


@contextmanager
def ending_the_first(count: int, bootstrap: str, *, client: bytes) -> Iterator[Proxy]:
    """Lead to a broker, but for the first connections of a client of this id: they end when it has asked something."""
    with listening() as (server, serve):
        proxy = Proxy(f"127.0.0.1:{server.getsockname()[1]}")

        def lead(taken: socket.socket) -> None:
            with suppress(OSError), closing(taken):
                first = taken.recv(_BYTES)
                if client in first and proxy.ended < count:
                    proxy.ended += 1
                    return
                host, port = bootstrap.rsplit(":", 1)
                with socket.create_connection((host, int(port))) as broker:
                    broker.sendall(first)
                    back = threading.Thread(target=_pipe, args=(broker, taken), daemon=True)
                    back.start()
                    _pipe(taken, broker)

        serve(lead)
        yield proxy


@contextmanager
def listening() -> Iterator[tuple[socket.socket, Callable[[Lead], None]]]:
    """A socket that listens until the end of the block, and what has each connection led in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept(lead: Lead) -> None:
            with suppress(OSError):  # The end of the block.
                while True:
                    taken, _ = server.accept()
                    threading.Thread(target=lead, args=(taken,), daemon=True).start()

        yield server, lambda lead: threading.Thread(target=accept, args=(lead,), daemon=True).start()
        server.shutdown(socket.SHUT_RDWR)


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_BYTES):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
