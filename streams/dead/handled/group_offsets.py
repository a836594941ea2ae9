"""Reads what a group has committed. With aiokafka: confluent-kafka now and then reads metadata past its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, NoError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from producers.cluster import Cluster
from streams.dead.errors import BrokerSilent
from streams.kafka.admin.login import consumer_login

#: Seconds between two tries, as while the group has no coordinator yet.
_RETRY_AFTER = 0.1

Found = dict[int, OffsetAndMetadata]


def read_committed(cluster: Cluster, group: str, topic: str, partitions: Sequence[int], patience: float) -> Found:
    """Returns each partition's commit, with offset -1 where there is none. Blocks; opens a client and closes it.

    Raises BrokerSilent when there is no answer within `patience` seconds, or none that can help.
    """
    return asyncio.run(_read(cluster, group, [TopicPartition(topic, each) for each in partitions], patience))


async def _read(cluster: Cluster, group: str, wanted: list[TopicPartition], patience: float) -> Found:
    give_up = time.monotonic() + patience
    while True:
        try:
            found = await asyncio.wait_for(_ask(cluster, group, wanted), patience)
            if found.keys() >= set(wanted):
                return {each.partition: found[each] for each in wanted}
            # A broker names every partition that it is asked for: what is missing is an answer, not a commit.
            why = "the group's coordinator did not answer"
        except (TimeoutError, KafkaError, OSError) as error:
            why = f"{type(error).__name__} {error}".strip()
            # aiokafka raises NoError for the errors of single partitions.
            if isinstance(error, KafkaError) and not error.retriable and not isinstance(error, NoError):
                give_up = 0.0
        if time.monotonic() > give_up:
            raise BrokerSilent(
                f"what group {group!r} has committed, the notes of which letters are handled, cannot be read"
                f" ({why}): see the broker's log, and try again"
            )
        await asyncio.sleep(_RETRY_AFTER)


async def _ask(cluster: Cluster, group: str, wanted: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=cluster.bootstrap_servers, client_id="streams-dead", **consumer_login(cluster)
    )
    try:
        await admin.start()
        found: dict[TopicPartition, OffsetAndMetadata] = await admin.list_consumer_group_offsets(
            group, partitions=wanted
        )
        return found
    finally:
        await admin.close()
