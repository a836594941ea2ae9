"""Has a cluster create topics, give them partitions and take larger records; waits where it cannot just now."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from streams.errors import SetupError
from streams.kafka.admin.client import Admin
from streams.kafka.errors import kafka_error, reason

logger = logging.getLogger(__name__)

#: The setting of a topic that says how large a record it takes.
RECORD_LIMIT = "max.message.bytes"

#: How long a worker's start waits for what the cluster cannot do or tell just now. Seconds.
PATIENCE = 60.0

_REQUEST_TIMEOUT = 10.0
#: Between two questions whether the cluster has done what it was asked to.
_ASK_AGAIN = 0.05
#: Between two requests for what the cluster cannot do just now.
_REQUEST_AGAIN = 1.0

#: What a cluster answers that has no controller just now, is too busy, or lacks a broker that is starting yet or again;
#: and what the client says of a broker that is away, or has just turned out to be another one (_DESTROY_BROKER).
_PASSING = frozenset(
    {
        KafkaError._DESTROY_BROKER,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NOT_CONTROLLER,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.INVALID_REPLICATION_FACTOR,
    }
)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it should be."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


def create_topics(admin: AdminClient, topics: Sequence[Topic], replication_factor: int, *, within: float = 0.0) -> None:
    """Create topics; waits so many seconds for a cluster that cannot just now, as one that is just starting. Blocks.

    Raises SetupError, and KafkaException when the cluster does not answer any more.
    """

    def request(wanted: Iterable[Topic]) -> dict[str, Future[Any]]:
        new = [NewTopic(each.name, each.partitions, replication_factor, config=dict(each.config)) for each in wanted]
        return admin.create_topics(new, request_timeout=_REQUEST_TIMEOUT)

    for topic, error in _answers(request, topics, within=within, settled=KafkaError.TOPIC_ALREADY_EXISTS):
        if error is not None:
            remedy = remedy_of(error, "create it by hand, or allow this user to")
            raise SetupError(f"cannot create topic {topic.name!r} ({reason(error)}): {remedy}") from error
        logger.info("created topic %s", topic.name)
    _await_leaders(admin, topics)


def add_partitions(cluster: Cluster, name: str, partitions: int) -> None:
    """Give a topic so many partitions, unless it has as many already. Blocks.

    Raises KafkaException when the cluster refuses or does not answer.
    """
    grow_topic(Admin(cluster).client, Topic(name, partitions))


def grow_topic(admin: AdminClient, topic: Topic, *, within: float = 0.0) -> None:
    """Give a topic the partitions that it should have; waits so many seconds for a cluster that cannot just now.

    Raises KafkaException, and SetupError where the new partitions get no leaders.
    """

    def request(wanted: Iterable[Topic]) -> dict[str, Future[Any]]:
        new = [NewPartitions(each.name, each.partitions) for each in wanted]
        return admin.create_partitions(new, request_timeout=_REQUEST_TIMEOUT)

    for _, error in _answers(request, [topic], within=within, settled=KafkaError.INVALID_PARTITIONS):
        if error is not None:
            raise error
        logger.info("topic %s has %d partitions now", topic.name, topic.partitions)
    _await_leaders(admin, [topic])


def remedy_of(error: KafkaException, usual: str) -> str:
    """Returns what to do about a refusal: the usual, unless brokers are missing."""
    if kafka_error(error).code() == KafkaError.INVALID_REPLICATION_FACTOR:
        return "start the brokers that are missing, or set STREAMS_REPLICATION_FACTOR to as many as there are"
    return usual


def _answers(
    request: Callable[[Iterable[Topic]], Mapping[str, Future[Any]]],
    topics: Iterable[Topic],
    *,
    within: float,
    settled: int,
) -> Iterator[tuple[Topic, KafkaException | None]]:
    """Request a change of topics, again for so many seconds where the cluster cannot make it just now.

    Yields each topic with the refusal, or None where it was changed. `settled` is the code of the answer that another
    worker was faster, of which there is nothing to say.
    """
    give_up = time.monotonic() + within
    left, told = {topic.name: topic for topic in topics}, set()
    while left:
        asked, left = left, {}
        for name, answer in request(asked.values()).items():
            topic, error = asked[name], _refusal(answer)
            code = None if error is None else kafka_error(error).code()
            if error is not None and code in _PASSING and time.monotonic() < give_up:
                left[name] = topic
                if (name, code) not in told:
                    told.add((name, code))
                    logger.warning("the cluster cannot change topic %s just now, waiting for up to %g s: %s", name,
                                   within, reason(error))  # fmt: skip
            elif code != settled:
                yield topic, error
        if left:
            time.sleep(_REQUEST_AGAIN)


def _refusal(answer: Future[Any]) -> KafkaException | None:
    try:
        answer.result()
    except KafkaException as error:
        return error
    return None


def raise_limit(cluster: Cluster, name: str, size: int) -> int:
    """Have a topic take records of so many bytes, unless it does. Returns how many it takes now. Blocks.

    Raises KafkaException when the cluster refuses or does not answer.
    """
    admin = Admin(cluster).client
    limit = _limit(admin, name)
    if limit is not None and limit >= size:
        return limit
    entry = ConfigEntry(RECORD_LIMIT, str(size), incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[entry])
    admin.incremental_alter_configs([topic], request_timeout=_REQUEST_TIMEOUT)[topic].result()
    logger.warning("topic %s takes records of up to %d bytes now, as one that was packed better needs it", name, size)
    _await_limit(admin, name, size)
    return size


def _limit(admin: AdminClient, name: str) -> int | None:
    """Of how many bytes a topic takes records; None where the cluster does not say."""
    topic = ConfigResource(ConfigResource.Type.TOPIC, name)
    found = admin.describe_configs([topic], request_timeout=_REQUEST_TIMEOUT)[topic].result().get(RECORD_LIMIT)
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


def _await_leaders(admin: AdminClient, topics: Iterable[Topic]) -> None:
    """Wait until the cluster tells of new topics: a consumer that subscribes sooner overlooks them for a while."""
    for topic in topics:
        if not _await_told(partial(_has_leaders, admin, topic), PATIENCE):
            raise SetupError(f"topic {topic.name!r} has partitions without leaders: look at the brokers' logs")


def _has_leaders(admin: AdminClient, topic: Topic) -> bool:
    known = admin.list_topics(topic.name, timeout=_REQUEST_TIMEOUT).topics[topic.name].partitions
    return len(known) >= topic.partitions and all(partition.leader >= 0 for partition in known.values())
