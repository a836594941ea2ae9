"""The fetch loop hands over one thing at a time, at once, and what goes wrong with it is not missed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.errors import ConsumerStoppedError, GroupAuthorizationFailedError, TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition as KafkaPartition

from streams.kafka.consumer import fetch_loop
from streams.kafka.consumer.fetch_loop import Fetched, FetchLoop
from streams.kafka.consumer.fetch_set import FetchSet
from streams.kafka.fetch.decoding import Demand
from tests.unit.streams.rig import until

P0, P1 = KafkaPartition("queue", 0), KafkaPartition("queue", 1)


@dataclass
class Position:
    position: int
    has_valid_position: bool = True


@dataclass
class Record:
    offset: int


class Fetcher:
    """aiokafka's fetcher, as far as it is asked here: what lies in it is taken of the partitions that are asked for."""

    _closed = False

    def __init__(self) -> None:
        self._subscriptions = self
        self._records: dict[Any, list[Any]] = {}
        self.errors: list[Exception] = []
        self.positions = {P0: Position(0), P1: Position(0)}

    @contextmanager
    def fetch_context(self) -> Iterator[None]:
        yield

    async def fetched_records(self, partitions: set[Any]) -> dict[Any, list[Any]]:
        if self.errors:
            raise self.errors.pop()
        taken = {tp: self._records.pop(tp) for tp in tuple(self._records) if tp in partitions}
        for tp, records in taken.items():
            self.positions[tp].position = max(self.positions[tp].position, records[-1].offset + 1)
        return taken

    # the assignment

    @property
    def tps(self) -> set[Any]:
        return set(self.positions)

    def state_value(self, tp: Any) -> Position:
        return self.positions[tp]


class Consumer:
    _closed = False

    def __init__(self) -> None:
        self._fetcher = Fetcher()
        self._coordinator = self
        self._subscription = self.subscription = self
        self.assignment = self._fetcher
        self.error: Exception | None = None

    def check_errors(self) -> None:
        """Raise what the group has refused, once."""
        error, self.error = self.error, None
        if error is not None:
            raise error


@dataclass
class Rig:
    loop: FetchLoop
    demand: Demand
    asked: FetchSet
    fetcher: Fetcher
    consumer: Consumer
    running: asyncio.Future[None] = field(default_factory=asyncio.Future)
    received: list[Fetched] = field(default_factory=list)
    flows: bool = True
    fails: bool = False

    def receive(self, fetched: Fetched) -> None:
        self.received.append(fetched)
        if self.fails:
            raise ValueError("a fault of ours")

    def comes(self, tp: KafkaPartition, *offsets: int) -> None:
        self.fetcher._records[tp] = [Record(offset) for offset in offsets]
        self.demand.on_arrival()

    @property
    def offsets(self) -> list[dict[Any, list[int]]]:
        return [{tp: [r.offset for r in records] for tp, records in f.records.items()} for f in self.received]


@asynccontextmanager
async def rig(**of: Any) -> AsyncIterator[Rig]:
    it: Rig

    def look() -> None:
        it.loop.look()

    def wake() -> None:
        it.loop.wake()

    demand, consumer, asked = Demand(on_arrival=look), Consumer(), FetchSet(wake)
    loop = FetchLoop(consumer, demand, asked, may_fetch=lambda: it.flows, worker_loop=asyncio.get_running_loop())
    it = Rig(loop, demand, asked, consumer._fetcher, consumer, **of)
    it.running = asyncio.ensure_future(loop.run(it.receive, {P0: 0, P1: 0}))
    asked.add([P0, P1])
    try:
        yield it
    finally:
        it.running.cancel()
        await asyncio.gather(it.running, return_exceptions=True)


@pytest.fixture(autouse=True)
def never_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a wake that is missing would be made up for."""
    monkeypatch.setattr(fetch_loop, "_LOOK_EVERY", 3600.0)


async def test_what_comes_is_handed_over() -> None:
    async with rig() as it:
        it.comes(P0, 0, 1)
        await until(lambda: it.received)
        assert it.offsets == [{P0: [0, 1]}]
        assert it.asked.asks_for(it.received[0].asked)


async def test_one_thing_is_handed_over_at_a_time() -> None:
    async with rig() as it:
        it.comes(P0, 0)
        await until(lambda: it.received)
        # Received, and the thread has not been told of it yet.
        it.comes(P1, 0)
        it.comes(P0, 1)
        assert len(it.received) == 1
        await until(lambda: len(it.received) == 2)
        assert it.offsets[1] == {P0: [1], P1: [0]}


@pytest.mark.parametrize("few", [True, False])
async def test_a_job_that_comes_alone_has_the_interpreter_to_itself(monkeypatch: pytest.MonkeyPatch, few: bool) -> None:
    """Whatever the thread has to do waits until it was received; but not behind a backlog, nor a busy worker."""
    monkeypatch.setattr(fetch_loop, "_COURTESY", 10.0)
    said: list[str] = []
    worker_loop, over = asyncio.get_running_loop(), asyncio.Event()

    def receive(_: Fetched) -> None:
        said.append("received")

    async def thread() -> None:
        demand, consumer = Demand(), Consumer()
        asked = FetchSet(lambda: None)
        loop = FetchLoop(consumer, demand, asked, may_fetch=lambda: True, worker_loop=worker_loop)
        asked.add([P0])
        consumer._fetcher._records[P0] = [Record(offset) for offset in range(1 if few else 100)]
        running = asyncio.ensure_future(loop.run(receive, {}))
        asyncio.get_running_loop().call_soon(said.append, "next")
        await until(lambda: len(said) == 2)
        running.cancel()
        worker_loop.call_soon_threadsafe(over.set)

    async def busy() -> None:
        """The worker's loop has other things to do when it is called."""
        threading.Event().wait(0.05)

    own = threading.Thread(target=lambda: asyncio.run(thread()))
    own.start()
    await busy()
    await asyncio.wait_for(over.wait(), 10)
    own.join()
    assert said == (["received", "next"] if few else ["next", "received"])


async def test_a_worker_that_is_busy_is_not_waited_for_long() -> None:
    async with rig() as it:
        # This very loop is the worker's, so that it can receive nothing while the thread waits.
        it.comes(P0, 0)
        await until(lambda: it.received)
        assert it.offsets == [{P0: [0]}]


async def test_what_was_not_asked_for_is_handed_over_once_it_is() -> None:
    async with rig() as it:
        it.asked.discard(P0)
        it.comes(P0, 0)
        it.comes(P1, 0)
        await until(lambda: it.received)
        assert it.offsets == [{P1: [0]}]
        it.asked.add([P0])
        await until(lambda: len(it.received) == 2)
        assert it.offsets[1] == {P0: [0]}


async def test_nothing_is_taken_while_the_worker_takes_nothing() -> None:
    async with rig(flows=False) as it:
        it.comes(P0, 0)
        it.loop.wake()
        for _ in range(10):
            await asyncio.sleep(0)
        assert it.fetcher._records
        it.flows = True
        it.loop.wake()
        await until(lambda: it.received)


async def test_what_the_group_refuses_is_heard_also_while_nothing_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """aiokafka joins again only once somebody has asked for the error, and nothing is taken before it has joined."""
    monkeypatch.setattr(fetch_loop, "RETRY_AFTER", 0.001)
    async with rig(flows=False) as it:
        it.consumer.error = GroupAuthorizationFailedError("jobs.default")
        it.loop.wake()
        await until(lambda: it.consumer.error is None)
    assert "fetching failed: GroupAuthorizationFailedError" in caplog.text


async def test_what_holds_no_job_is_passed_over_once() -> None:
    async with rig() as it:
        it.comes(P0, 0, 1)
        it.fetcher.positions[P0].position = 5
        await until(lambda: it.received)
        assert it.received[0].passed == {P0: (2, 5)}
        it.comes(P1, 0)
        await until(lambda: len(it.received) == 2)
        assert it.received[1].passed == {}


async def test_partitions_that_are_asked_for_meanwhile_do_not_disturb_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are added on the worker's loop, in another thread; an error here would end the worker."""
    async with rig() as it:
        it.fetcher.positions[P0].position = 2

        def tps(fetcher: Fetcher) -> set[Any]:
            it.asked.partitions.add(KafkaPartition("queue", len(it.asked.partitions)))
            return set(fetcher.positions)

        monkeypatch.setattr(Fetcher, "tps", property(tps))
        it.loop.wake()
        await until(lambda: it.received)
        assert it.received[0].passed == {P0: (0, 2)}
        assert len(it.asked.partitions) > 3


async def test_what_was_asked_for_before_a_rebalance_is_known_as_such() -> None:
    async with rig() as it:
        it.comes(P0, 0)
        await until(lambda: it.received)
        it.asked.clear()
        assert not it.asked.asks_for(it.received[0].asked)


async def test_a_refused_fetch_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fetch_loop, "RETRY_AFTER", 0.001)
    async with rig() as it:
        it.fetcher.errors.append(TopicAuthorizationFailedError("queue"))
        it.comes(P0, 0)
        await until(lambda: it.received)
    assert "fetching failed: TopicAuthorizationFailedError" in caplog.text


async def test_what_cannot_be_received_ends_it() -> None:
    async with rig(fails=True) as it:
        it.comes(P0, 0)
        with pytest.raises(ValueError, match="a fault of ours"):
            await asyncio.wait_for(it.running, 5)


@pytest.mark.parametrize("closed", ["_closed", "stopped"])
async def test_it_ends_with_its_consumer(closed: str) -> None:
    async with rig() as it:
        if closed == "stopped":
            it.fetcher.errors.append(ConsumerStoppedError())
        else:
            it.consumer._closed = True
        it.loop.wake()
        await asyncio.wait_for(it.running, 5)
