"""What every test broker can do, and how to wait for one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

START_SECONDS = 180.0


class Broker(ABC):
    """A single-node broker. It keeps its address and its data from the first start until close()."""

    bootstrap: str

    @property
    def nodes(self) -> Sequence[Broker]:
        """The brokers there are: this one. A cluster has several."""
        return (self,)

    @property
    def for_clients(self) -> str:
        """The address for those whose network may fail, where there is one that can."""
        return self.bootstrap

    @abstractmethod
    def start(self) -> None:
        """Start, and return when the broker answers."""

    @abstractmethod
    def stop(self) -> None:
        """Stop in order, and return when it is down."""

    @abstractmethod
    def kill(self) -> None:
        """End it as a power cut would, as far as the process is concerned (kill -9)."""

    @abstractmethod
    def freeze(self) -> None:
        """Keep its connections open but answer nothing."""

    @abstractmethod
    def thaw(self) -> None:
        """Go on after freeze()."""

    @abstractmethod
    def close(self) -> None:
        """Stop and remove its data. Called once, in any state."""

    @abstractmethod
    def last_words(self) -> str:
        """The end of its log."""


class ExternalBroker(Broker):
    """Somebody else's broker: tests share it and may not stop it."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def start(self) -> None:
        await_answer(self.bootstrap)

    def _refuse(self) -> None:
        raise RuntimeError("the broker in KAFKA_BOOTSTRAP_SERVERS is not ours to stop: use the fixture own_broker")

    stop = kill = freeze = thaw = _refuse

    def close(self) -> None:
        """Nothing is ours to remove."""

    def last_words(self) -> str:
        return "its log is somebody else's"


def await_answer(bootstrap: str) -> None:
    """Return when the broker lists itself in its metadata. Raises TimeoutError after a minute."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "reconnect.backoff.max.ms": 100, "log_level": 0})
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        with suppress(KafkaException):
            if admin.list_topics(timeout=0.5).brokers:
                return
    raise TimeoutError(f"no Kafka answered on {bootstrap} within {START_SECONDS:.0f} s")
