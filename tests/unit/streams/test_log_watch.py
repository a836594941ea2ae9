"""The watch over logs: compares ids when it may, and drops what a rebalance has overtaken."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress

from aiokafka.errors import KafkaError

from streams.kafka.admin.open_transactions import OpenTransaction
from streams.kafka.consumer.log_watch import LogWatch
from streams.ports.records import TopicPartition
from tests.unit.streams.rig import turns


class Cluster:
    """Logs, and brokers that tell of them."""

    def __init__(self) -> None:
        self.epoch = 1
        self.checked: list[Mapping[str, str | None]] = []
        self.asked = 0
        self.rebalances = False
        self.away = False

    def logs(self) -> set[str]:
        return {"q"}

    def check(self, ids: Mapping[str, str | None]) -> None:
        self.checked.append(ids)

    async def ids(self, topics: Collection[str]) -> Mapping[str, str | None]:
        self.asked += 1
        if self.away:
            raise KafkaError("away")
        if self.rebalances:
            self.epoch += 1
        return dict.fromkeys(topics, "id")

    async def held_back(self) -> Mapping[TopicPartition, int]:
        return {}

    async def transactions(self, tp: TopicPartition) -> list[OpenTransaction]:
        raise AssertionError(f"{tp} is not held back")


async def look(cluster: Cluster, *, may_look: bool = True) -> None:
    """Run a watch until it has looked once."""
    watch = LogWatch(cluster, cluster, lambda: may_look)
    watch.look_soon()
    running = asyncio.ensure_future(watch.run())
    await turns()
    assert not running.done()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_ids_are_compared() -> None:
    cluster = Cluster()
    await look(cluster)
    assert cluster.checked == [{"q": "id"}]


async def test_what_a_rebalance_has_overtaken_is_dropped() -> None:
    cluster = Cluster()
    cluster.rebalances = True
    await look(cluster)
    assert (cluster.asked, cluster.checked) == (1, [])


async def test_a_broker_that_is_away_does_not_end_it() -> None:
    cluster = Cluster()
    cluster.away = True
    await look(cluster)
    assert cluster.checked == []


async def test_nothing_is_asked_while_partitions_are_nobody_s() -> None:
    cluster = Cluster()
    await look(cluster, may_look=False)
    assert cluster.asked == 0
