"""The network of tests fails as it is told to, and recovers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.network import Failure, Network, Way
from tests.waiting import until


@pytest.fixture
def far() -> Iterator[str]:
    """A server that answers with what it is sent."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    taken, _ = server.accept()
                    threading.Thread(target=answer, args=(taken,), daemon=True).start()

        def answer(taken: socket.socket) -> None:
            with suppress(OSError), closing(taken):
                while data := taken.recv(1000):
                    taken.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        found: int = free.getsockname()[1]
        return found


@pytest.fixture
def network(far: str, port: int) -> Iterator[Network]:
    with closing(Network({f"127.0.0.1:{port}": far})) as network:
        network.start()
        yield network


@pytest.fixture
def client(network: Network, port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        assert echo(client) == b"hello", "it leads to the server"
        yield client


def echo(client: socket.socket, data: bytes = b"hello") -> bytes:
    client.sendall(data)
    return client.recv(1000)


def silent(client: socket.socket) -> bool:
    client.settimeout(0.2)
    try:
        client.recv(1000)
    except TimeoutError:
        return True
    finally:
        client.settimeout(30)
    return False


def test_a_dropped_connection_is_reset_and_so_is_a_new_one(network: Network, client: socket.socket, port: int) -> None:
    network.fail(Failure(Way.DROP))
    with pytest.raises(ConnectionError):
        client.recv(1000)
    with pytest.raises(ConnectionError), socket.create_connection(("127.0.0.1", port), timeout=30) as another:
        until(lambda: another.recv(1000) and None, within=30, what="it is reset")
    network.recover()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as another:
        assert echo(another) == b"hello"


@pytest.mark.parametrize("way", [Way.HOLD, Way.DEAF])
def test_what_is_held_arrives_when_the_network_is_well(network: Network, client: socket.socket, way: Way) -> None:
    network.fail(Failure(way))
    client.sendall(b"late")
    assert silent(client)
    network.recover()
    assert client.recv(1000) == b"late"


def test_the_other_end_is_gone_and_nobody_is_told_before_the_end(network: Network, client: socket.socket) -> None:
    network.fail(Failure(Way.HALF_OPEN))
    client.sendall(b"to nobody")
    assert silent(client)
    network.recover()
    with pytest.raises(ConnectionError):
        client.recv(1000)


def test_an_answer_ends_in_its_middle(network: Network, client: socket.socket) -> None:
    network.fail(Failure(Way.CUT))
    client.sendall(b"12345678")
    assert client.recv(1000) == b"1234"
    assert client.recv(1000) == b"", "and the connection with it"


def test_few_bytes_take_their_time(network: Network, client: socket.socket) -> None:
    network.fail(Failure(Way.SLOW, rate=1))
    client.sendall(b"hello")
    assert silent(client)


def test_it_concerns_only_some(network: Network, client: socket.socket, port: int) -> None:
    ours = client.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as another:
        assert echo(another) == b"hello"
        network.fail(Failure(Way.DROP, lambda port, broker: port == ours and broker == 0))
        assert echo(another) == b"hello"
    with pytest.raises(ConnectionError):
        client.recv(1000)
