"""The look-out for producers that place keys by another rule."""

from __future__ import annotations

import asyncio
import zlib
from time import monotonic

import pytest

from producers.routing.key_placement import is_misplaced, partition_of
from streams.ports.records import Batch, TopicPartition
from streams.worker.upkeep.misplaced_keys import MisplacedKeys
from tests.unit.streams.rig import Fetched

TOPIC = "jobs.webhook"
KEYS = [f"customer-{number}".encode() for number in range(12)]


def batches(placed: dict[bytes | None, int]) -> list[Batch]:
    return [Batch(TopicPartition(TOPIC, place), 0, [Fetched(0, key, b"")]) for key, place in placed.items()]


def by_crc32(partitions: int) -> dict[bytes | None, int]:
    return {key: zlib.crc32(key) % partitions for key in KEYS}


def by_murmur2(partitions: int) -> dict[bytes | None, int]:
    return {key: partition_of(key, partitions) for key in KEYS}


async def look(misplaced: MisplacedKeys, seen: list[Batch]) -> None:
    for batch in seen:
        misplaced.look(batch)
        for _ in range(3):
            await asyncio.sleep(0)


class Cluster:
    """Says how many partitions the topic has."""

    def __init__(self, *answers: int | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, topic: str) -> int | None:
        assert topic == TOPIC
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


async def test_another_placement_is_told_once_with_the_settings_that_mend_it(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(12)
    await look(MisplacedKeys({TOPIC: 12}, cluster), batches(by_crc32(12)) * 3)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{TOPIC}: a producer does not place keys as the others do: the key 'customer-")
    assert "there librdkafka places it by default" in line
    assert "partitioner=murmur2_random" in line
    assert cluster.asked == 1


@pytest.mark.parametrize("declared", [12, 3])
async def test_keys_that_all_lie_well_or_lay_well_in_a_smaller_topic_are_not_told(
    caplog: pytest.LogCaptureFixture, declared: int
) -> None:
    misplaced = MisplacedKeys({TOPIC: declared}, Cluster(12))
    for partitions in (1, 2, 3, 8, 12):
        await look(misplaced, batches(by_murmur2(partitions)))
    await look(misplaced, batches({None: 11}))
    await look(misplaced, batches({b"": 11}))
    assert not caplog.records


async def test_a_cluster_that_does_not_answer_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(None, 12)
    await look(MisplacedKeys({TOPIC: 12}, cluster), batches(by_crc32(12)))
    assert cluster.asked == 2
    assert len(caplog.records) == 1


async def test_what_many_keys_cost_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0

    def counted(key: bytes, partition: int, partitions: int) -> bool:
        nonlocal looked
        looked += 1
        return is_misplaced(key, partition, partitions)

    monkeypatch.setattr("streams.worker.upkeep.misplaced_keys.is_misplaced", counted)
    misplaced = MisplacedKeys({TOPIC: 1}, Cluster(1))
    began = monotonic()
    for _ in range(1_000):
        misplaced.look(Batch(TopicPartition(TOPIC, 0), 0, [Fetched(0, key, b"") for key in KEYS]))
    assert 512 <= looked <= 512 + 64 * (1 + monotonic() - began)
