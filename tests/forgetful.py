"""A broker that forgets itself, as the only one of a cluster does that shuts down: it answers that there is none.

It stands between a client and a broker, and lets all through but for what it says of brokers. Of Kafka's protocol it
knows the frames (a length of four bytes), the first fields of a request, and the first of an answer about topics
(Metadata, from version 3 on; https://kafka.apache.org/protocol).
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from confluent_kafka import KafkaException, Producer

from tests.proxy import listening
from tests.waiting import until

_METADATA = 3
_FLEXIBLE_FROM = 9


class ForgetfulBroker:
    """A way to a broker: `address` is where clients find it."""

    def __init__(self, server: socket.socket, bootstrap: str) -> None:
        host, port = bootstrap.rsplit(":", 1)
        self._broker = host, int(port)
        self._port: int = server.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        self._forgets = threading.Event()
        #: Set once a client was told that there is no broker, and was hung up on.
        self.forgotten = threading.Event()
        #: How many connections it has refused since.
        self.refused = 0

    def forget(self) -> None:
        """Tell the next client that asks that there is no broker, hang up, and take no connection any more."""
        self.forgotten.clear()
        self.refused = 0
        self._forgets.set()

    def remember(self) -> None:
        """Be a broker again."""
        self._forgets.clear()
        self.forgotten.clear()

    def be_forgotten(self, client: Producer, topic: str) -> None:
        """Have a client that knows this broker know none any more, although it is there again afterwards.

        About every second client finds its way back as soon as there is one; then it is tried again.
        """
        while _sees(client, topic):
            self.forget()
            _sees(client, topic)
            assert self.forgotten.wait(5)
            with suppress(TimeoutError):
                until(lambda: self.refused, within=0.5, what="it asks the bootstrap servers")
            self.remember()

    def lead(self, client: socket.socket) -> None:
        """Lead one connection to the broker, until either side ends it."""
        with suppress(OSError), closing(client):
            if self.forgotten.is_set():
                self.refused += 1
                return
            with socket.create_connection(self._broker) as broker:
                asked: dict[int, int] = {}
                back = threading.Thread(target=self._answer, args=(broker, client, asked), daemon=True)
                back.start()
                while (request := _frame(client)) is not None:
                    key, version, number = struct.unpack_from(">hhi", request)
                    if key == _METADATA:
                        asked[number] = version
                    _send(broker, request)
                broker.shutdown(socket.SHUT_RDWR)

    def _answer(self, broker: socket.socket, client: socket.socket, asked: dict[int, int]) -> None:
        with suppress(OSError):
            while (answer := _frame(broker)) is not None:
                version = asked.pop(struct.unpack_from(">i", answer)[0], None)
                if version is None:
                    _send(client, answer)
                    continue
                forgets = self._forgets.is_set()
                _send(client, _rewritten(answer, version, None if forgets else self._port))
                if forgets:
                    self.forgotten.set()
                    break
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def forgetful(bootstrap: str) -> Iterator[ForgetfulBroker]:
    """Stand before a broker until the end of the block."""
    with listening() as (server, serve):
        broker = ForgetfulBroker(server, bootstrap)
        serve(broker.lead)
        yield broker


def _sees(client: Producer, topic: str) -> bool:
    try:
        client.list_topics(topic, timeout=2)
    except KafkaException:
        return False
    return True


def _frame(source: socket.socket) -> bytes | None:
    head = source.recv(4, socket.MSG_WAITALL)
    return source.recv(struct.unpack(">i", head)[0], socket.MSG_WAITALL) if len(head) == 4 else None


def _send(target: socket.socket, frame: bytes) -> None:
    target.sendall(struct.pack(">i", len(frame)) + frame)


def _rewritten(answer: bytes, version: int, port: int | None) -> bytes:
    """An answer with another port for each broker, or without any."""
    flexible = version >= _FLEXIBLE_FROM
    at = 9 if flexible else 8  # The number, the tags of the header, the time to throttle.
    head, brokers = answer[:at], b""
    if flexible:
        count, at = answer[at] - 1, at + 1
    else:
        count, at = struct.unpack_from(">i", answer, at)[0], at + 4
    for _ in range(count):
        end_of_host = _behind_text(answer, at + 4, flexible=flexible)
        end = _behind_text(answer, end_of_host + 4, flexible=flexible) + flexible
        if port is not None:
            brokers += answer[at:end_of_host] + struct.pack(">i", port) + answer[end_of_host + 4 : end]
        at = end
    count = 0 if port is None else count
    return head + (bytes((count + 1,)) if flexible else struct.pack(">i", count)) + brokers + answer[at:]


def _behind_text(answer: bytes, at: int, *, flexible: bool) -> int:
    """Where a text ends that begins there with its length; shorter than 127 bytes, or none."""
    if flexible:
        return at + 1 + max(0, answer[at] - 1)
    return at + 2 + max(0, int(struct.unpack_from(">h", answer, at)[0]))
