"""How often a partition is tried that cannot be read."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.structs import TopicPartition

from streams import consumer_thread
from streams.consumer_thread import ConsumerThread
from tests.unit.streams.rig import until

BROKEN = TopicPartition("jobs.email", 0)
INTERVAL = 0.1


class Consumer:
    """What is paused of an assignment that a rebalance makes anew."""

    def __init__(self) -> None:
        self.paused = False
        self.resumed = 0

    def pause(self, tp: TopicPartition) -> None:
        assert tp == BROKEN
        self.paused = True

    def resume(self, tp: TopicPartition) -> None:
        assert tp == BROKEN
        self.paused = False
        self.resumed += 1


async def test_rebalances_make_it_no_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_thread, "_RETRY_AFTER", INTERVAL)
    thread, consumer = ConsumerThread.__new__(ConsumerThread), Consumer()
    monkeypatch.setattr(thread, "_ensure_consumer", lambda: consumer, raising=False)
    thread.thread_loop = asyncio.get_running_loop()
    thread._set_aside_until = {}
    for _ in range(5):
        # A rebalance: nothing is paused any more, and it is fetched at once.
        consumer.paused = False
        thread._set_aside(BROKEN, 7, ValueError("damaged"))
    await until(lambda: consumer.resumed)
    await asyncio.sleep(2 * INTERVAL)
    assert consumer.resumed == 1, "one clock, however many rebalances there were"
    thread._set_aside(BROKEN, 7, ValueError("damaged"))
    await until(lambda: consumer.resumed == 2)
