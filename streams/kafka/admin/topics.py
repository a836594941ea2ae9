"""Creates the topics of the queues that a worker serves, and checks those that are there."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from producers.routing.topics import dead_topic
from streams.api.queue import Queue
from streams.errors import SetupError
from streams.kafka.admin.client import Admin
from streams.kafka.admin.topic_changes import PATIENCE, RECORD_LIMIT, Topic, create_topics, grow_topic, remedy_of
from streams.kafka.errors import reason
from streams.settings import Settings

logger = logging.getLogger(__name__)

#: A dead letter is the job with headers about its failure on top. Bytes.
DEAD_LETTER_ROOM = 128 * 1024

#: What a batch adds to its record. Bytes.
RECORD_ROOM = 4 * 1024

#: What Kafka takes as one record by default (`message.max.bytes`). Bytes.
BROKER_MESSAGE_MAX = 1_048_588

#: Dead letters are kept for 90 days. Milliseconds.
_DEAD_RETENTION_MS = 90 * 24 * 3600 * 1000

#: How long the topic of delayed jobs keeps tombstones. Milliseconds.
TOMBSTONE_MS = 24 * 3600 * 1000

#: A delayed job is the job with headers about its delay on top. Bytes.
_DELAY_ROOM = 4 * 1024

#: Of the first question, so that who waits for a broker is told so soon.
_FIRST_TIMEOUT = 2.0
_NEXT_TIMEOUT = 10.0


def ensure_topics(settings: Settings, queues: Iterable[Queue], within: float = 0.0) -> None:
    """Create the missing topics of these queues and of delayed jobs, and check the others. Blocks.

    It waits so many seconds for a cluster that cannot change topics just now, beside the time for a broker to answer.

    A queue's own topic may have another number of partitions than was declared (somebody has added some): the topics
    beside it follow its number. Raises SetupError when they cannot, when a retry topic has more (what is in those would
    never be read), or when the cluster cannot be reached.
    """
    cluster = Admin(settings.cluster)
    queues, admin = [*queues], cluster.client
    scheduled = settings.scheduled_topic
    counts = _partition_counts(cluster, [scheduled, dead_topic(scheduled), *_names(settings, queues)])
    _ensure_delayed(settings, admin, counts, within)
    for queue in queues:
        topic = settings.topic(queue.name)
        partitions = counts.get(topic, queue.partitions)
        if partitions != queue.partitions:
            logger.warning("%s has %d partitions, %r says %d: taking the topic's", topic, partitions, queue,
                           queue.partitions)  # fmt: skip
        wanted = [_queue(topic, partitions, settings), *_beside(queue, partitions, settings)]
        missing = [each for each in wanted if each.name not in counts]
        create_topics(admin, missing, settings.replication_factor, within=within)
        _, retry, dead = wanted
        _refuse_surplus(topic, retry, counts.get(retry.name, partitions))
        for beside in (retry, dead):
            _follow(admin, topic, beside, counts.get(beside.name, partitions), within)


def _ensure_delayed(settings: Settings, admin: AdminClient, counts: Mapping[str, int], within: float) -> None:
    """Create the topics of delayed jobs. Where that is not allowed the queues are served all the same."""
    wanted = _of_delayed(counts.get(settings.scheduled_topic, settings.scheduled_partitions), settings)
    missing = [each for each in wanted if each.name not in counts]
    try:
        create_topics(admin, missing, settings.replication_factor, within=within)
    except SetupError as error:
        logger.error("no job can be delayed: %s", error)


def _names(settings: Settings, queues: Iterable[Queue]) -> list[str]:
    names = [settings.topics(queue.name) for queue in queues]
    return [topic for each in names for topic in (each.queue, each.retry, each.dead)]


def restore_topic(settings: Settings, queues: Iterable[Queue], name: str) -> bool:
    """Create a retry or dead-letter topic, or that of delayed jobs, anew that somebody has deleted.

    Returns False if it is none of these.

    A queue's own topic is left to whoever has deleted it. Blocks. Raises SetupError when it cannot be created.
    """
    scheduled = settings.scheduled_topic
    if name in {scheduled, dead_topic(scheduled)}:
        cluster = Admin(settings.cluster)
        partitions = _partition_counts(cluster, [scheduled]).get(scheduled, settings.scheduled_partitions)
        wanted = [topic for topic in _of_delayed(partitions, settings) if topic.name == name]
        create_topics(cluster.client, wanted, settings.replication_factor)
        return True
    for queue in queues:
        names = settings.topics(queue.name)
        if name in {names.retry, names.dead}:
            cluster = Admin(settings.cluster)
            partitions = _partition_counts(cluster, [names.queue]).get(names.queue, queue.partitions)
            beside = [topic for topic in _beside(queue, partitions, settings) if topic.name == name]
            create_topics(cluster.client, beside, settings.replication_factor)
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
    return Topic(name, partitions, config if largest == BROKER_MESSAGE_MAX else {**config, RECORD_LIMIT: str(largest)})


def _retry(name: str, partitions: int, settings: Settings) -> Topic:
    """Nothing leaves it by age, as a job may wait for longer than any; its records keep the job's time."""
    room = _largest(settings) + DEAD_LETTER_ROOM
    config = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
    return Topic(name, partitions, {**config, "message.timestamp.type": "CreateTime", RECORD_LIMIT: str(room)})


def _dead(name: str, partitions: int, settings: Settings) -> Topic:
    """Its times are the broker's: with those of a worker whose clock is wrong, letters would be deleted too soon."""
    room = _largest(settings) + DEAD_LETTER_ROOM
    config = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}
    config["retention.ms"] = str(_DEAD_RETENTION_MS)
    return Topic(name, partitions, {**config, RECORD_LIMIT: str(room)})


def _of_delayed(partitions: int, settings: Settings) -> tuple[Topic, Topic]:
    """The topic of delayed jobs, and where records go that are none.

    Nothing leaves it by age. Of each job its last record stays, and of one that has ended nothing does, a day after:
    small segments, closed early, since only closed ones are compacted, and a new owner reads all that there is.
    """
    name = settings.scheduled_topic
    config = {
        "cleanup.policy": "compact",
        "message.timestamp.type": "LogAppendTime",
        "delete.retention.ms": str(TOMBSTONE_MS),
        "segment.bytes": str(64 * 1024 * 1024),
        "segment.ms": "3600000",
        "min.cleanable.dirty.ratio": "0.2",
        RECORD_LIMIT: str(_largest(settings) + _DELAY_ROOM),
    }
    return Topic(name, partitions, config), _dead(dead_topic(name), partitions, settings)


def _refuse_surplus(topic: str, retry: Topic, count: int) -> None:
    """A partition of a retry topic is read with the queue's partition of the same number, and only with that."""
    if count > retry.partitions:
        raise SetupError(
            f"topic {retry.name!r} has {count} partitions and {topic!r} has {retry.partitions}: jobs that are parked in"
            f" those beyond would never be read. Give {topic!r} as many (kafka-topics.sh --alter --partitions {count}),"
            f" or delete {retry.name!r} if it holds nothing unfinished: it is then made anew"
        )


def _follow(admin: AdminClient, topic: str, beside: Topic, count: int, within: float) -> None:
    """Give a topic beside a queue's the partitions that it lacks: a job keeps its partition."""
    if count > beside.partitions:
        logger.warning("%s has %d partitions and %s has %d: those beyond stay empty", beside.name, count, topic,
                       beside.partitions)  # fmt: skip
    elif count < beside.partitions:
        try:
            grow_topic(admin, beside, within=within)
        except KafkaException as error:
            alter = f"kafka-topics.sh --alter --partitions {beside.partitions}"
            remedy = remedy_of(error, f"add them by hand ({alter}), or allow this user to")
            raise SetupError(
                f"topic {beside.name!r} has {count} partitions and {topic!r} has {beside.partitions}, and the cluster"
                f" adds none ({reason(error)}): {remedy}"
            ) from error


def _partition_counts(cluster: Admin, names: Collection[str]) -> dict[str, int]:
    """Partition counts of topics, those that are there; waits for a broker that is just starting. Raises SetupError."""
    give_up = time.monotonic() + PATIENCE
    timeout = _FIRST_TIMEOUT
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
        timeout = _NEXT_TIMEOUT
