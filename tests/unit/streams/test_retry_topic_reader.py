"""Where the retry logs begin and end, told by a broker that goes away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from confluent_kafka import KafkaError, KafkaException

from producers.cluster import Cluster
from streams.kafka.log_reader import LogReader
from streams.kafka.retry_topic.reader import RetryTopicReader
from streams.ports.group import LogBounds, NotSettledYet
from streams.ports.records import TopicPartition
from tests.mock_cluster import LIST_OFFSETS, MockCluster

HERE = TopicPartition("jobs.email.retry", 0)
WITHIN = 30.0


@pytest.fixture
def broker() -> Iterator[MockCluster]:
    with closing(MockCluster(HERE.topic)) as broker:
        yield broker


async def bounds(broker: MockCluster) -> dict[TopicPartition, LogBounds]:
    def repair() -> None:
        raise AssertionError("nothing is missing")

    logs = RetryTopicReader(Cluster(bootstrap_servers=broker.bootstrap), repair)
    return await asyncio.wait_for(logs.bounds([HERE], lambda: False), WITHIN)


async def test_they_are_told(broker: MockCluster) -> None:
    assert await bounds(broker) == {HERE: LogBounds(0, 0)}


@pytest.mark.parametrize("answered", [0, 1], ids=["the beginning", "the end"])
async def test_a_broker_that_is_lost_meanwhile_is_asked_again(
    broker: MockCluster, answered: int, caplog: pytest.LogCaptureFixture
) -> None:
    """librdkafka answers with an offset of -1001 then, and with no error."""
    broker.fail(LIST_OFFSETS, *[0] * answered, KafkaError._TRANSPORT)
    assert await bounds(broker) == {HERE: LogBounds(0, 0)}
    assert "cannot read the bounds of the retry topics" in caplog.text


async def test_they_are_told_while_handlers_have_filled_the_executor_of_the_loop(broker: MockCluster) -> None:
    """Else a partition would be opened when the jobs of `asyncio.to_thread` that wait there are done."""
    go = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    filled = [asyncio.ensure_future(asyncio.to_thread(go.wait, 2 * WITHIN)) for _ in range(20)]
    await asyncio.sleep(0)
    try:
        assert await bounds(broker) == {HERE: LogBounds(0, 0)}
    finally:
        go.set()
        await asyncio.gather(*filled)


async def test_a_client_that_fails_while_it_reads_is_no_end_of_the_worker(
    broker: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens a partition opens it again."""
    logs = RetryTopicReader(Cluster(bootstrap_servers=broker.bootstrap), lambda: None)

    def fail(self: LogReader, *_: object) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL, "it goes on no more"))

    monkeypatch.setattr(LogReader, "take", fail)
    with pytest.raises(NotSettledYet, match="the retry topics cannot be read: it goes on no more"):
        await anext(logs.read({HERE: 0}, lambda: False))
