"""Settings of topics by which jobs are lost or stand still: says which, what follows, and the command that mends it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]

from producers.routing.topics import dead_topic
from streams.api.queue import Queue
from streams.kafka.admin.client import Admin
from streams.kafka.errors import reason
from streams.settings import Settings

logger = logging.getLogger(__name__)

_REQUEST_TIMEOUT = 10.0

#: Jobs that wait for longer than their topic keeps them are deleted unread: less than this is hardly meant. Hours.
_SHORT_RETENTION = 24

_DAY_MS = 24 * 3_600_000

#: The largest number of a setting of Kafka's: no limit.
_NO_LIMIT = 2**63 - 1


class Role(Enum):
    """What a topic is to its queue."""

    QUEUE = auto()
    RETRY = auto()
    DEAD = auto()
    SCHEDULED = auto()


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as the cluster has it."""

    name: str
    role: Role
    #: Copies of each partition.
    replicas: int
    #: The settings in force, the cluster's own where the topic has none.
    settings: Mapping[str, str]

    def number(self, setting: str, default: int) -> int:
        """A setting's value; the default where the cluster does not know the setting."""
        value = self.settings.get(setting)
        return default if value is None else int(value)


@dataclass(frozen=True, slots=True)
class Complaint:
    """A setting that is wrong: what follows from it, and what it should be."""

    topic: str
    setting: str
    value: str
    consequence: str
    remedy: str

    def line(self, servers: str) -> str:
        """One line for people, with the command that mends it."""
        return (
            f"topic {self.topic} has {self.setting}={self.value}: {self.consequence}. To mend it: kafka-configs.sh"
            f" --bootstrap-server {servers} --alter --entity-type topics --entity-name {self.topic}"
            f" --add-config {self.setting}={self.remedy}"
        )


def warn_of_settings(settings: Settings, queues: Iterable[Queue]) -> None:
    """Log a warning for every setting of these queues' topics by which jobs are lost or stand still. Blocks."""
    cluster = Admin(settings.cluster)
    try:
        found = list(_found(cluster, _roles(settings, queues)))
    except KafkaException as error:
        logger.warning("the settings of the topics could not be looked at (%s): where this user has DescribeConfigs on"
                       " them, a start tells of those by which jobs are lost", reason(error))  # fmt: skip
        return
    for topic in found:
        for complaint in complaints(topic):
            logger.warning("%s", complaint.line(settings.cluster.bootstrap_servers))


def complaints(topic: Found) -> Iterator[Complaint]:
    """What is wrong with a topic's settings."""
    for setting, consequence, remedy in _wrong(topic):
        value = topic.settings.get(setting, "its default")
        yield Complaint(topic.name, setting, value, consequence, remedy)


#: A setting, what follows from its value, and what it should be.
_Wrong = tuple[str, str, str]


def _wrong(topic: Found) -> Iterator[_Wrong]:
    yield from _replication(topic)
    if topic.role is Role.SCHEDULED:
        yield from _scheduled(topic)
        return
    if "compact" in topic.settings.get("cleanup.policy", ""):
        yield "cleanup.policy", "of jobs with one key all but the last are deleted, whether they ran or not", "delete"
    if topic.role is Role.QUEUE:
        yield from _queue_time(topic)
        yield from _queue_retention(topic)
    elif topic.role is Role.RETRY:
        yield from _retry_time(topic)
        yield from _retry_retention(topic)


def _scheduled(topic: Found) -> Iterator[_Wrong]:
    if topic.settings.get("cleanup.policy", "compact") != "compact":
        yield "cleanup.policy", "delayed jobs are deleted by their age, and never run", "compact"
    if topic.number("delete.retention.ms", _DAY_MS) < _DAY_MS:
        yield "delete.retention.ms", "a job that has run may run again where its worker's files are older", str(_DAY_MS)


def _replication(topic: Found) -> Iterator[_Wrong]:
    least = topic.number("min.insync.replicas", 1)
    if least > topic.replicas:
        yield (
            "min.insync.replicas",
            f"it has {_copies(topic.replicas)}, so nothing can be written to it",
            str(topic.replicas),
        )
    elif topic.replicas >= 3 and least < 2:
        yield "min.insync.replicas", "a job that one broker has counts as kept, and is lost with that broker", "2"
    if topic.replicas > 1 and topic.settings.get("unclean.leader.election.enable") == "true":
        yield (
            "unclean.leader.election.enable",
            "a broker that lacks acknowledged jobs may come to lead, and they are lost",
            "false",
        )


def _copies(number: int) -> str:
    return "one copy" if number == 1 else f"{number} copies"


def _queue_time(topic: Found) -> Iterator[_Wrong]:
    if topic.settings.get("message.timestamp.type", "LogAppendTime") != "LogAppendTime":
        yield (
            "message.timestamp.type",
            "the producers' times count, so a job with an old time is deleted before it runs, and deadlines of retry"
            " policies are counted from it",
            "LogAppendTime",
        )


def _queue_retention(topic: Found) -> Iterator[_Wrong]:
    kept = topic.number("retention.ms", -1)
    if 0 <= kept < _SHORT_RETENTION * 3_600_000:
        yield "retention.ms", f"jobs that wait for longer than {_duration(kept)} are deleted unread", "604800000"
    if topic.number("retention.bytes", -1) >= 0:
        yield "retention.bytes", "where more waits in a partition than that, the oldest jobs are deleted unread", "-1"


def _duration(milliseconds: int) -> str:
    seconds = milliseconds / 1000
    return f"{seconds:g} s" if seconds < 3600 else f"{seconds / 3600:.3g} h"


def _retry_time(topic: Found) -> Iterator[_Wrong]:
    if topic.settings.get("message.timestamp.type", "CreateTime") != "CreateTime":
        yield (
            "message.timestamp.type",
            "deadlines of retry policies are counted from the last failure, not from the publication",
            "CreateTime",
        )
    for oldest in ("message.timestamp.before.max.ms", "message.timestamp.difference.max.ms"):
        if topic.number(oldest, _NO_LIMIT) != _NO_LIMIT:
            yield (
                oldest,
                "a failing job that was published longer ago cannot be parked, and its key stands still",
                str(_NO_LIMIT),
            )


def _retry_retention(topic: Found) -> Iterator[_Wrong]:
    for setting in ("retention.ms", "retention.bytes"):
        if topic.number(setting, -1) >= 0:
            yield setting, "jobs that wait to be tried again are deleted, and never run", "-1"


def _roles(settings: Settings, queues: Iterable[Queue]) -> dict[str, Role]:
    scheduled = settings.scheduled_topic
    roles = {scheduled: Role.SCHEDULED, dead_topic(scheduled): Role.DEAD}
    for queue in queues:
        names = settings.topics(queue.name)
        roles |= {names.queue: Role.QUEUE, names.retry: Role.RETRY, names.dead: Role.DEAD}
    return roles


def _found(cluster: Admin, roles: Mapping[str, Role]) -> Iterator[Found]:
    if not roles:
        return
    known = cluster.describe_topics(roles, _REQUEST_TIMEOUT)
    asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in known]
    for resource, described in cluster.client.describe_configs(asked, request_timeout=_REQUEST_TIMEOUT).items():
        entries = described.result()
        partitions = known[resource.name].partitions.values()
        yield Found(
            resource.name,
            roles[resource.name],
            min((len(partition.replicas) for partition in partitions), default=1),
            {name: entry.value for name, entry in entries.items() if entry.value is not None},
        )
