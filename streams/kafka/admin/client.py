"""The client by which topics are made and described, and what people are told when no broker answers it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from producers.cluster import Cluster
from streams.errors import SetupError
from streams.kafka.errors import reason

if TYPE_CHECKING:
    from confluent_kafka.admin._metadata import ClusterMetadata, TopicMetadata

logger = logging.getLogger(__name__)


class Admin:
    """An admin client of the cluster, for what makes and checks topics, and for dead letters. Its calls block.

    `client` is confluent-kafka's own.

    Raises SetupError when the client refuses its settings, as for a certificate that is not there.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._errors: list[KafkaError] = []
        config: dict[str, Any] = {
            **cluster.client_config(),
            "error_cb": self._errors.append,
            # Whoever asks for a topic does not mean to make it, whatever a broker does with topics that it lacks.
            "allow.auto.create.topics": False,
            # It logs every one of its many tries to connect; the last reason is told when they have failed.
            "log_level": 2,
        }
        try:
            self.client = AdminClient(config, logger=logger)
        except KafkaException as error:
            raise SetupError(f"the Kafka client refuses its settings ({reason(error)}): check KAFKA_*") from error

    def describe_cluster(self, timeout: float) -> ClusterMetadata:
        """The cluster's metadata: its brokers and all its topics.

        Raises KafkaException when no broker answers within so many seconds, SetupError when brokers refuse the login:
        to wait for them does not help.
        """
        with self._refusals_told():
            return self.client.list_topics(timeout=timeout)

    def describe_topics(self, names: Iterable[str], timeout: float) -> dict[str, TopicMetadata]:
        """The metadata of those of these topics that are there and that this user may see.

        One question for each: a cluster may have thousands of others. Raises as `describe_cluster` does.
        """
        with self._refusals_told():
            asked = {name: self.client.list_topics(name, timeout=timeout).topics[name] for name in names}
        return {name: found for name, found in asked.items() if found.error is None}

    @contextmanager
    def _refusals_told(self) -> Iterator[None]:
        try:
            yield
        except KafkaException:
            self.client.poll(0)
            for error in self._errors:
                if error.code() in {KafkaError._AUTHENTICATION, KafkaError._SSL}:
                    raise SetupError(
                        f"the brokers at {self.cluster.bootstrap_servers} do not let this worker in ({error.str()}):"
                        " check KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_* and KAFKA_SSL_*"
                    ) from None
            raise

    def why(self, error: KafkaException) -> str:
        """Why no broker has answered, as far as the client knows."""
        known = [each for each in self._errors if each.code() != KafkaError._ALL_BROKERS_DOWN]
        return known[-1].str() if known else reason(error)

    def no_broker_message(self, error: KafkaException) -> str:
        """What to tell people when no broker answers."""
        return (
            f"no Kafka broker answers at {self.cluster.bootstrap_servers} ({self.why(error)}): check"
            " KAFKA_BOOTSTRAP_SERVERS and the KAFKA_* login settings, or start a broker with `make broker`"
        )
