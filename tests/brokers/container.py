"""A broker in a container of the local Docker engine, by testcontainers."""

from __future__ import annotations

import gc
import warnings
from contextlib import closing, suppress
from typing import Any, cast

from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from tests.brokers.base import Broker, await_answer
from tests.brokers.embedded import SHORT_LIVED, free_port

# The project's own image first; the official one understands the same settings.
IMAGES = ("kafka-jobs/kafka:4.3.1", "apache/kafka:4.3.1")


_TAIL_LINES = 40


class KafkaContainer(DockerContainer):
    """Kafka's official image, or the project's own, which reads the same settings.

    The host's port is chosen beforehand and is the same inside: the broker has to advertise the address that clients
    use from outside before it starts, and has to come back on it after a stop.
    """

    def __init__(self, image: str, port: int) -> None:
        super().__init__(image)
        # with_bind_ports would publish it on every interface.
        cast("dict[str, Any]", self.ports)[f"{port}/tcp"] = ("127.0.0.1", port)
        self.with_envs(
            CLUSTER_ID="a2Fma2Etam9icy10ZXN0cw",
            KAFKA_NODE_ID="1",
            KAFKA_PROCESS_ROLES="broker,controller",
            KAFKA_LISTENERS=f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:9093",
            KAFKA_ADVERTISED_LISTENERS=f"PLAINTEXT://127.0.0.1:{port}",
            KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
            KAFKA_CONTROLLER_QUORUM_VOTERS="1@127.0.0.1:9093",
            KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
            KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS="4",
            KAFKA_OFFSETS_RETENTION_MINUTES="144000",
            KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1",
            KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
            KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS="4",
            KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR="1",
            KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR="1",
            KAFKA_LOG_DIRS="/var/lib/kafka/data",
            KAFKA_AUTO_CREATE_TOPICS_ENABLE="false",
            KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
            KAFKA_BROKER_SESSION_TIMEOUT_MS="3000",
            KAFKA_BROKER_HEARTBEAT_INTERVAL_MS="500",
            KAFKA_HEAP_OPTS="-Xms256m -Xmx1g",
            KAFKA_JVM_PERFORMANCE_OPTS=SHORT_LIVED,
        )


class ContainerBroker(Broker):
    """A broker in a container of the local Docker engine."""

    def __init__(self, image: str) -> None:
        port = free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        self._container = KafkaContainer(image, port)
        self._created = False

    def start(self) -> None:
        if self._created:
            self._wrapped().start()
        else:
            self._created = True
            self._container.start()
        try:
            await_answer(self.bootstrap)
        except TimeoutError as silent:
            raise TimeoutError(f"{silent}; the end of its log:\n{self.last_words()}") from None

    def stop(self) -> None:
        self._wrapped().stop(timeout=30)

    def kill(self) -> None:
        self._wrapped().kill()
        self._wrapped().wait()

    def freeze(self) -> None:
        self._wrapped().pause()

    def thaw(self) -> None:
        self._wrapped().unpause()

    def close(self) -> None:
        self._container.stop()

    def last_words(self) -> str:
        return str(self._wrapped().logs(tail=_TAIL_LINES).decode())

    def _wrapped(self) -> Any:
        return self._container.get_wrapped_container()


def kafka_image() -> str | None:
    """The image to use, or None without a Docker engine that answers or without an image it can get."""
    engine = _engine()
    if engine is None:
        return None
    with closing(engine):
        if not _available(engine, testcontainers_config.ryuk_image):
            # The fixtures remove what they start; the reaper is only a second net.
            testcontainers_config.ryuk_disabled = True
        return next((image for image in IMAGES if _available(engine, image)), None)


def _engine() -> Any:
    with warnings.catch_warnings():
        # Docker's client leaves its socket open when nobody answers; collect it while that is no error.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = DockerClient().client
            client.ping()
        except Exception:  # whatever is wrong with the engine, tests run on the embedded broker
            client = None
        gc.collect()
    return client


def _available(engine: Any, image: str) -> bool:
    for get in (engine.images.get, engine.images.pull):
        with suppress(Exception):
            get(image)
            return True
    return False
