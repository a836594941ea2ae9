"""Several embedded brokers that hold copies of each other's data, as a cluster in production does."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import PartitionMetadata, TopicMetadata

from tests.brokers.base import START_SECONDS
from tests.brokers.embedded import EmbeddedBroker, free_port
from tests.disk import Disk
from tests.network import Network
from tests.waiting import until

HOST = "127.0.0.1"
#: Of several JVMs on one machine: little memory, and no time for the second compiler.
HEAP = "-Xms128m -Xmx320m -XX:TieredStopAtLevel=1"

_PROPERTIES = """
node.id={id}
controller.quorum.voters={voters}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENTS:PLAINTEXT
listeners=PLAINTEXT://{address},CLIENTS://{behind},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{address},CLIENTS://{front}
default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={copies}
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
# Whoever is first among a partition's copies leads it as soon as it can (by default five minutes later).
leader.imbalance.check.interval.seconds=1
"""


@dataclass(frozen=True)
class _Place:
    """Where one broker listens: for its like and for tests, as a controller, and for clients behind the network."""

    address: str
    controller: str
    behind: str
    front: str


class Cluster:
    """Brokers of which each is a controller, too. Every topic has a copy on each, and one of them may be away."""

    def __init__(self, count: int = 3, *, megabytes: int = 0) -> None:
        """`megabytes` is the size of a disk for each of them, which takes the right to mount; 0: none of their own."""
        self._directory = tempfile.TemporaryDirectory(prefix="kafka-jobs-cluster-")
        places = [_Place(*_free_addresses(4)) for _ in range(count)]
        voters = ",".join(f"{number}@{place.controller}" for number, place in enumerate(places, 1))
        cluster = base64.urlsafe_b64encode(b"k" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        #: The brokers, by their ids from 1 up.
        self.nodes: Sequence[EmbeddedBroker] = [
            self._node(number, place, voters, count, cluster) for number, place in enumerate(places, 1)
        ]
        #: Their disks, in the same order, if they have some of their own.
        self.disks: Sequence[Disk] = [Disk(node.data, megabytes) for node in self.nodes] if megabytes else []
        #: Leads past the network that may fail: for those who disturb and account.
        self.bootstrap = ",".join(place.address for place in places)
        #: Leads through it.
        self.for_clients = ",".join(place.front for place in places)
        self.network = Network({place.front: place.behind for place in places})

    def _node(self, number: int, place: _Place, voters: str, count: int, cluster: str) -> EmbeddedBroker:
        file = Path(self._directory.name) / f"{number}.properties"
        settings = dataclasses.asdict(place) | {"copies": count, "in_sync": count // 2 + 1}
        file.write_text(_PROPERTIES.format(id=number, voters=voters, **settings))
        return EmbeddedBroker(f"--properties={file}", f"--cluster-id={cluster}", address=place.address, heap=HEAP)

    def start(self) -> None:
        """Start all of them; returns when each knows of the others."""
        with ThreadPoolExecutor(len(self.nodes)) as threads:
            for started in [threads.submit(node.start) for node in self.nodes]:
                started.result()
        self.await_in_sync()
        self.network.start()

    def close(self) -> None:
        """Stop all, and remove their data."""
        self.network.close()
        with ThreadPoolExecutor(len(self.nodes)) as threads:
            for stopped in [threads.submit(node.stop_if_running) for node in self.nodes]:
                stopped.result()
        for disk in self.disks:
            disk.unmount()
        for node in self.nodes:
            node.close()
        self._directory.cleanup()

    def last_words(self) -> str:
        """The ends of their logs."""
        return "\n".join(f"--- broker {number}\n{node.last_words()}" for number, node in enumerate(self.nodes, 1))

    def await_in_sync(self, within: float = START_SECONDS) -> None:
        """Return when all brokers are there and every partition has all of its copies."""
        admin = self._admin()

        def in_sync() -> bool:
            with suppress(KafkaException):
                told = admin.list_topics(timeout=1)
                whole = all(set(each.isrs) == set(each.replicas) for _, each in _partitions(told.topics))
                return len(told.brokers) == len(self.nodes) and whole
            return False

        until(in_sync, within=within, what=lambda: f"all copies are in sync\n{self.last_words()}")

    def move_leaders(self, prefix: str = "") -> None:
        """Have another broker lead each partition of the topics that begin so; returns when they do."""
        admin = self._admin()
        listed = _partitions(admin.list_topics(timeout=10).topics)
        wanted = {
            (topic, each.id): _with_another_first(each) for topic, each in listed if topic.startswith(prefix)
        }  # fmt: skip
        ids = _topic_ids(admin, {topic for topic, _ in wanted})
        asyncio.run(_reassign(self.bootstrap, wanted))

        def moved() -> bool:
            with suppress(KafkaException):
                listed = _partitions(admin.list_topics(timeout=10).topics)
                now = {(topic, each.id): each.leader for topic, each in listed}
                late = {each[0] for each, copies in wanted.items() if now.get(each, copies[0]) != copies[0]}
                # Whoever leads a topic that was made anew meanwhile, it was not asked for.
                return not late or not _topic_ids(admin, late).items() & ids.items()
            return False

        until(moved, within=START_SECONDS, what=lambda: f"leaders moved\n{self.last_words()}")

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "reconnect.backoff.max.ms": 100, "log_level": 0})


def _free_addresses(count: int) -> list[str]:
    found: set[str] = set()
    while len(found) < count:
        found.add(f"{HOST}:{free_port()}")
    return [*found]


def _partitions(topics: Mapping[str, TopicMetadata]) -> list[tuple[str, PartitionMetadata]]:
    return [(name, each) for name, topic in topics.items() for each in topic.partitions.values()]


def _topic_ids(admin: AdminClient, topics: Iterable[str]) -> dict[str, str]:
    """The ids of topics, of those that are there."""
    asked = admin.describe_topics(TopicCollection([*topics]), request_timeout=10)
    found = {}
    for topic, described in asked.items():
        with suppress(KafkaException):
            found[topic] = str(described.result().topic_id)
    return found


def _with_another_first(partition: PartitionMetadata) -> list[int]:
    """The brokers with a copy, and first of them another than the one that leads."""
    at = partition.replicas.index(partition.leader) if partition.leader in partition.replicas else 0
    return [*partition.replicas[at + 1 :], *partition.replicas[: at + 1]]


async def _reassign(bootstrap: str, wanted: dict[tuple[str, int], list[int]]) -> None:
    """Name other first copies. (Confluent's admin client cannot.)"""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        topics: dict[str, list[tuple[int, list[int], dict[int, bytes]]]] = {}
        for (topic, partition), copies in wanted.items():
            topics.setdefault(topic, []).append((partition, copies, {}))
        request = AlterPartitionReassignmentsRequest(30_000, [(*each, {}) for each in topics.items()], {})
        await client.send(client.get_random_node(), request)
    finally:
        await client.close()
