"""What the cluster says of a queue's topics, and how long it remembers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource

from producers.errors import OptionInvalid
from producers.routing.topics import queue_of_dead_topic
from streams.dead.errors import BrokerSilent, UnknownQueue
from streams.dead.topic.reader import REQUEST_TIMEOUT
from streams.kafka.admin.client import Admin
from streams.settings import Settings

_MILLISECONDS_A_DAY = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of a queue, by their names, and their partitions."""

    queue: str
    queue_partitions: int
    dead: str
    dead_partitions: tuple[int, ...]


def find_topics(admin: Admin, settings: Settings, queue: str, patience: float) -> Topics:
    """Ask the cluster for the topics of a queue.

    Raises UnknownQueue, BrokerSilent when no broker answers within `patience` seconds, and SetupError when brokers
    refuse the login.
    """
    try:
        names = settings.topics(queue)
    except OptionInvalid as error:
        raise UnknownQueue(str(error)) from error
    try:
        topics = admin.describe_cluster(patience).topics
    except KafkaException as error:
        raise BrokerSilent(admin.no_broker_message(error)) from error
    topic, dead = names.queue, names.dead
    if topic not in topics or dead not in topics:
        raise UnknownQueue(
            f"there is no queue {queue!r} with dead letters in namespace {settings.namespace!r}; its queues:"
            f" {_queues(topics, settings)}. A worker that serves a queue creates its topics"
        )
    return Topics(topic, len(topics[topic].partitions), dead, tuple(sorted(topics[dead].partitions)))


def _queues(topics: dict[str, Any], settings: Settings) -> str:
    queues = (queue_of_dead_topic(name, settings.namespace) for name in topics)
    return ", ".join(sorted(queue for queue in queues if queue)) or "none"


def forgets_after(admin: AdminClient, dead: str) -> tuple[float, float] | None:
    """Days after which a broker forgets notes, and those that letters are kept, if the first is the shorter time.

    Kafka drops the commits of a group without members, `offsets.retention.minutes` after the last. None also when
    brokers do not tell.
    """
    try:
        broker = next(iter(admin.list_topics(timeout=REQUEST_TIMEOUT).brokers))
        wanted = [
            ConfigResource(ConfigResource.Type.BROKER, str(broker)),
            ConfigResource(ConfigResource.Type.TOPIC, dead),
        ]
        asked = admin.describe_configs(wanted, request_timeout=REQUEST_TIMEOUT)
        configs = [asked[each].result() for each in wanted]
        notes = int(configs[0]["offsets.retention.minutes"].value) / (24 * 60)
        kept = int(configs[1]["retention.ms"].value) / _MILLISECONDS_A_DAY
    except (KafkaException, KeyError, StopIteration, ValueError, TypeError):
        return None
    return (notes, kept) if kept < 0 or notes < kept else None
