"""Creates the topics of the queues that a worker serves, and checks those that are there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

from producers.cluster import Cluster
from streams.api.queue import Queue
from streams.errors import SetupError
from streams.kafka.admin.client import Admin
from streams.kafka.errors import kafka_error, reason
from streams.settings import Settings

logger = logging.getLogger(__name__)

#: A dead letter is the job with headers about its failure on top. Bytes.
DEAD_LETTER_ROOM = 128 * 1024

#: What a batch adds to its record. Bytes.
RECORD_ROOM = 4 * 1024

#: What Kafka takes as one record by default (`message.max.bytes`). Bytes.
BROKER_MESSAGE_MAX = 1_048_588

_LIMIT = "max.message.bytes"

#: Dead letters are kept for 90 days. Milliseconds.
_DEAD_RETENTION_MS = 90 * 24 * 3600 * 1000

_REQUEST_TIMEOUT = 10.0
#: Of the first question, so that who waits for a broker is told so soon.
_FIRST_TIMEOUT = 2.0
_WAIT_FOR_BROKER = 60.0
#: Between two questions whether the cluster has done what it was asked to.
_ASK_AGAIN = 0.05

#: What a cluster answers that has no controller just now, or is too busy.
_PASSING = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NOT_CONTROLLER,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it should be."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


def ensure_topics(settings: Settings, queues: Iterable[Queue]) -> None:
    """Create the missing topics of these queues and check the others. Blocks.

    A queue's own topic may have another number of partitions than was declared (somebody has added some): the topics
    beside it follow its number. Raises SetupError when they cannot, when a retry topic has more (what is in those would
    never be read), or when the cluster cannot be reached.
    """
    cluster = Admin(settings.cluster)
    queues, admin = [*queues], cluster.client
    counts = _partition_counts(cluster, _names(settings, queues))
    for queue in queues:
        topic = settings.topic(queue.name)
        partitions = counts.get(topic, queue.partitions)
        if partitions != queue.partitions:
            logger.warning("%s has %d partitions, %r says %d: taking the topic's", topic, partitions, queue,
                           queue.partitions)  # fmt: skip
        wanted = [_queue(topic, partitions, settings), *_beside(queue, partitions, settings)]
        missing = [each for each in wanted if each.name not in counts]
        _create(admin, missing, settings.replication_factor)
        _await_leaders(admin, missing)
        _, retry, dead = wanted
        _refuse_surplus(topic, retry, counts.get(retry.name, partitions))
        for beside in (retry, dead):
            _follow(admin, topic, beside, counts.get(beside.name, partitions))


def _names(settings: Settings, queues: Iterable[Queue]) -> list[str]:
    names = [settings.topics(queue.name) for queue in queues]
    return [topic for each in names for topic in (each.queue, each.retry, each.dead)]


def restore_topic(settings: Settings, queues: Iterable[Queue], name: str) -> bool:
    """Create a retry or dead-letter topic anew that somebody has deleted.

    Returns False if it belongs to none of these queues.

    A queue's own topic is left to whoever has deleted it. Blocks. Raises SetupError when it cannot be created.
    """
    for queue in queues:
        names = settings.topics(queue.name)
        if name in {names.retry, names.dead}:
            cluster = Admin(settings.cluster)
            partitions = _partition_counts(cluster, [names.queue]).get(names.queue, queue.partitions)
            wanted = [topic for topic in _beside(queue, partitions, settings) if topic.name == name]
            _create(cluster.client, wanted, settings.replication_factor)
            _await_leaders(cluster.client, wanted)
            return True
    return False


def _beside(queue: Queue, partitions: int, settings: Settings) -> tuple[Topic, Topic]:
    """The topics beside a queue's: for retries, and for dead letters."""
    names = settings.topics(queue.name)
    return _retry(names.retry, partitions, settings), _dead(names.dead, partitions, settings)


def _largest(settings: Settings) -> int:
    return max(BROKER_MESSAGE_MAX, settings.producer.message_max_bytes + RECORD_ROOM)


def _queue(name: str, partitions: int, settings: Settings) -> Topic:
    """Its times are the broker's: a producer may set any (Kafka Streams, Flink and Connect set that of the event), and
    a job with an old one would be deleted by its age before it has run."""
    largest = _largest(settings)
    config = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}
    return Topic(name, partitions, config if largest == BROKER_MESSAGE_MAX else {**config, _LIMIT: str(largest)})


def _retry(name: str, partitions: int, settings: Settings) -> Topic:
    """Nothing leaves it by age, as a job may wait for longer than any; its records keep the job's time."""
    room = _largest(settings) + DEAD_LETTER_ROOM
    config = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
    return Topic(name, partitions, {**config, "message.timestamp.type": "CreateTime", _LIMIT: str(room)})


def _dead(name: str, partitions: int, settings: Settings) -> Topic:
    """Its times are the broker's: with those of a worker whose clock is wrong, letters would be deleted too soon."""
    room = _largest(settings) + DEAD_LETTER_ROOM
    config = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}
    config["retention.ms"] = str(_DEAD_RETENTION_MS)
    return Topic(name, partitions, {**config, _LIMIT: str(room)})


def _refuse_surplus(topic: str, retry: Topic, count: int) -> None:
    """A partition of a retry topic is read with the queue's partition of the same number, and only with that."""
    if count > retry.partitions:
        raise SetupError(
            f"topic {retry.name!r} has {count} partitions and {topic!r} has {retry.partitions}: jobs that are parked in"
            f" those beyond would never be read. Give {topic!r} as many (kafka-topics.sh --alter --partitions {count}),"
            f" or delete {retry.name!r} if it holds nothing unfinished: it is then made anew"
        )


def _follow(admin: AdminClient, topic: str, beside: Topic, count: int) -> None:
    """Give a topic beside a queue's the partitions that it lacks: a job keeps its partition."""
    if count > beside.partitions:
        logger.warning("%s has %d partitions and %s has %d: those beyond stay empty", beside.name, count, topic,
                       beside.partitions)  # fmt: skip
    elif count < beside.partitions:
        try:
            _grow(admin, beside)
        except KafkaException as error:
            raise SetupError(
                f"topic {beside.name!r} has {count} partitions and {topic!r} has {beside.partitions}, and the cluster"
                f" adds none ({reason(error)}): add them by hand (kafka-topics.sh --alter --partitions"
                f" {beside.partitions}), or allow this user to"
            ) from error


def add_partitions(cluster: Cluster, name: str, partitions: int) -> None:
    """Give a topic so many partitions, unless it has as many already. Blocks.

    Raises KafkaException when the cluster refuses or does not answer.
    """
    _grow(Admin(cluster).client, Topic(name, partitions))


def _grow(admin: AdminClient, topic: Topic) -> None:
    requested = admin.create_partitions([NewPartitions(topic.name, topic.partitions)], request_timeout=_REQUEST_TIMEOUT)
    try:
        requested[topic.name].result()
    except KafkaException as error:
        # Another worker may have been faster.
        if kafka_error(error).code() != KafkaError.INVALID_PARTITIONS:
            raise
    else:
        logger.info("topic %s has %d partitions now", topic.name, topic.partitions)
    _await_leaders(admin, [topic])


def raise_limit(cluster: Cluster, name: str, size: int) -> int:
    """Have a topic take records of so many bytes, unless it does. Returns how many it takes now. Blocks.

    Raises KafkaException when the cluster refuses or does not answer.
    """
    admin = Admin(cluster).client
    limit = _limit(admin, name)
    if limit is not None and limit >= size:
        return limit
    entry = ConfigEntry(_LIMIT, str(size), incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[entry])
    admin.incremental_alter_configs([topic], request_timeout=_REQUEST_TIMEOUT)[topic].result()
    logger.warning("topic %s takes records of up to %d bytes now, as one that was packed better needs it", name, size)
    _await_limit(admin, name, size)
    return size


def _limit(admin: AdminClient, name: str) -> int | None:
    """Of how many bytes a topic takes records; None where the cluster does not say."""
    topic = ConfigResource(ConfigResource.Type.TOPIC, name)
    found = admin.describe_configs([topic], request_timeout=_REQUEST_TIMEOUT)[topic].result().get(_LIMIT)
    return int(found.value) if found is not None and found.value else None


def _await_limit(admin: AdminClient, name: str, size: int) -> None:
    """Wait until the cluster goes by a new limit, which it does some time after it has taken it; not for long."""
    _await_told(lambda: (limit := _limit(admin, name)) is None or limit >= size, _REQUEST_TIMEOUT)


def _await_told(told: Callable[[], bool], within: float) -> bool:
    """Ask again until the cluster tells what it has been asked to do, which it announces to nobody.

    Returns False where it has not within so many seconds.
    """
    give_up = time.monotonic() + within
    while not told():
        if time.monotonic() > give_up:
            return False
        time.sleep(_ASK_AGAIN)
    return True


def _partition_counts(cluster: Admin, names: Collection[str]) -> dict[str, int]:
    """Partition counts of topics, those that are there; waits for a broker that is just starting. Raises SetupError."""
    give_up = time.monotonic() + _WAIT_FOR_BROKER
    timeout = min(_FIRST_TIMEOUT, _REQUEST_TIMEOUT)
    while True:
        try:
            topics = cluster.describe_topics(names, timeout)
        except KafkaException as error:
            if time.monotonic() > give_up:
                raise SetupError(cluster.no_broker_message(error)) from error
            servers = cluster.cluster.bootstrap_servers
            logger.warning("waiting for a Kafka broker at %s: %s", servers, cluster.why(error))
        else:
            return {name: len(topic.partitions) for name, topic in topics.items()}
        timeout = _REQUEST_TIMEOUT


def _create(admin: AdminClient, topics: list[Topic], replication_factor: int) -> None:
    """Create topics; waits for a cluster that has no controller yet, as one that is just starting."""
    give_up = time.monotonic() + _WAIT_FOR_BROKER
    while topics:
        requested = admin.create_topics(
            [NewTopic(topic.name, topic.partitions, replication_factor, config=dict(topic.config)) for topic in topics],
            request_timeout=_REQUEST_TIMEOUT,
        )
        patient = time.monotonic() < give_up
        topics = [topic for topic in topics if not _await_created(topic.name, requested[topic.name], patient=patient)]


def _await_created(name: str, requested: Future[Any], *, patient: bool) -> bool:
    """Wait for the answer to a request to create a topic.

    Returns False where the cluster may make it yet. Raises SetupError where it does not.
    """
    try:
        requested.result()
    except KafkaException as error:
        if patient and kafka_error(error).code() in _PASSING:
            logger.warning("waiting for the cluster to create %s: %s", name, reason(error))
            return False
        # Another worker may have been faster.
        if kafka_error(error).code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise SetupError(
                f"cannot create topic {name!r} ({reason(error)}): create it by hand, or allow this user to"
            ) from error
    else:
        logger.info("created topic %s", name)
    return True


def _await_leaders(admin: AdminClient, topics: list[Topic]) -> None:
    """Wait until the cluster tells of new topics: a consumer that subscribes sooner overlooks them for a while."""
    for topic in topics:
        if not _await_told(partial(_has_leaders, admin, topic), _WAIT_FOR_BROKER):
            raise SetupError(f"topic {topic.name!r} was created, but has no leaders: look at the brokers' logs")


def _has_leaders(admin: AdminClient, topic: Topic) -> bool:
    known = admin.list_topics(topic.name, timeout=_REQUEST_TIMEOUT).topics[topic.name].partitions
    return len(known) >= topic.partitions and all(partition.leader >= 0 for partition in known.values())
