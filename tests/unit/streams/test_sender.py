"""The sender, with the real client against a broker that answers with errors on demand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from time import monotonic
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from pydantic import Field

from producers.cluster import ClientConfig, Cluster
from streams.errors import FollowUpRefused
from streams.kafka.producer.client import ProducerClient
from streams.kafka.producer.reported_offsets import ReportedOffsets
from streams.kafka.producer.sender import ReliableSender
from streams.logs.resend_lines import ResentReports
from streams.ports.records import OutgoingRecord
from tests.appending import append
from tests.forgetful import forgetful
from tests.mock_cluster import INIT_PRODUCER_ID, PRODUCE, MockCluster
from tests.unit.streams.rig import until

TOPIC = "t"
FIRST = 3
#: More than anything here takes, and less than it takes to lose patience.
WITHIN = 20.0

#: Of a client that is silent for longer than a connection may take it is known that it makes none. Milliseconds.
SOON_SURE = {"socket.connection.setup.timeout.ms": 1_000}


class Configured(Cluster):
    """A cluster whose clients are set as a test wants them."""

    options: ClientConfig = Field(default_factory=dict)

    def client_config(self) -> ClientConfig:
        return {**super().client_config(), **self.options}


@pytest.fixture
def broker() -> Iterator[MockCluster]:
    with closing(MockCluster(TOPIC)) as broker:
        yield broker


def record(value: str = "", size: int = 0) -> OutgoingRecord:
    return OutgoingRecord(TOPIC, b"k", value.encode().ljust(size, b"."), [], 0)


@asynccontextmanager
async def sender(broker: MockCluster, **options: Any) -> AsyncIterator[ReliableSender]:
    """A sender that has written three records, so that small offsets are none of the later ones."""
    cluster = Configured(bootstrap_servers=broker.bootstrap, options=options)
    sender = ReliableSender(cluster, retry_after=0.1)
    try:
        assert [await append(sender, record()) for _ in range(FIRST)] == list(range(FIRST))
        yield sender
    finally:
        await sender.close()


async def all_of(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    """The results of tasks that end soon."""
    return await asyncio.wait_for(asyncio.gather(*tasks), WITHIN)


def writes(sender: ReliableSender, count: int, size: int = 0) -> list[asyncio.Task[int | None]]:
    return [asyncio.create_task(append(sender, record(str(number), size))) for number in range(count)]


def lines(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [each.getMessage() for each in caplog.records if part in each.getMessage()]


async def test_records_lie_in_the_order_of_their_calls(broker: MockCluster) -> None:
    async with sender(broker) as sending:
        assert await all_of(writes(sending, 500)) == list(range(FIRST, FIRST + 500))


# -- a client that fails for good -------------------------------------------------------------------------------------


async def test_a_client_that_fails_for_good_is_replaced_and_what_was_on_its_way_is_sent_again(
    broker: MockCluster, caplog: pytest.LogCaptureFixture
) -> None:
    async with sender(broker) as sending:
        broker.delay(0.3)
        broker.fail(PRODUCE, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
        on_their_way = []
        for _ in range(4):  # Batches of their own.
            on_their_way += writes(sending, 5)
            await asyncio.sleep(0.05)
        broker.delay(0)
        committed = await all_of(on_their_way)
        assert len(set(committed)) == 20
        after = await all_of(writes(sending, 10))
        assert min(after) > max(committed)
    assert len(lines(caplog, "has failed for good")) == 1


async def test_a_client_that_gets_a_record_through_in_no_time_is_replaced(
    broker: MockCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have lost sight of a partition's leader for good, as where a topic was made anew."""
    async with sender(broker, **{"message.timeout.ms": 1_000}) as sending:
        broker.delay(3)
        (writing,) = writes(sending, 1)
        await until(lambda: lines(caplog, "another takes its place"))
        broker.delay(0)
        assert (await asyncio.wait_for(writing, WITHIN)) is not None


async def test_a_client_that_has_lost_sight_of_all_brokers_is_replaced(
    broker: MockCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the only broker of a cluster restarts."""
    with forgetful(broker.bootstrap) as way:
        async with sender(broker, **{"bootstrap.servers": way.address, **SOON_SURE}) as sending:
            client = sending._batching.open()._producer
            assert client is not None
            await asyncio.to_thread(way.be_forgotten, client, TOPIC)
            (writing,) = writes(sending, 1)
            assert (await asyncio.wait_for(writing, WITHIN)) == FIRST
    assert len(lines(caplog, "another takes its place: it has lost sight of all brokers")) == 1


async def test_where_a_topic_was_made_anew_another_client_writes_what_is_on_its_way(
    broker: MockCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The one before may be held up for two minutes by the numbers that it gave to the records of the old topic."""
    async with sender(broker) as sending:
        broker.delay(WITHIN * 2)
        (writing,) = writes(sending, 1)
        held_up = sending._batching.open()
        await until(lambda: held_up._on_way)
        broker.delay(0)
        sending.renew(TOPIC)
        sending.renew(TOPIC)
        assert (await asyncio.wait_for(writing, WITHIN)) is not None
    (line,) = lines(caplog, "another takes its place")
    assert "t was deleted and created again; records on their way" in line
    assert line.endswith(": 1")


async def test_what_is_sent_while_a_client_fails_is_written_too(broker: MockCluster) -> None:
    async with sender(broker) as sending:
        broker.fail(PRODUCE, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
        tasks = []
        for _ in range(100):
            tasks += writes(sending, 1)
            await asyncio.sleep(0.002)
        assert len(set(await all_of(tasks))) == 100


async def test_clients_that_fail_one_after_the_other_are_not_made_in_a_rush(
    broker: MockCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """A cluster that does not let the worker write makes every client fail at its start."""
    broker.fail(INIT_PRODUCER_ID, *[KafkaError.CLUSTER_AUTHORIZATION_FAILED] * 3)
    sending = ReliableSender(Cluster(bootstrap_servers=broker.bootstrap), retry_after=0.5)
    began = monotonic()
    tasks = []
    while len(lines(caplog, "has failed for good")) < 3:
        tasks += writes(sending, 5)
        await asyncio.sleep(0.01)
        assert monotonic() - began < WITHIN
    assert monotonic() - began > 2 * 0.5
    assert len(set(await all_of(tasks))) == len(tasks)
    await sending.close()


async def test_records_that_a_failed_client_never_answers_for_are_sent_again(
    broker: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever librdkafka makes of them: nobody waits for ever."""

    class Forgetful(Producer):
        def produce(self, *arguments: Any, on_delivery: Any, **options: Any) -> None:  # type: ignore[override]
            """Report nothing."""
            super().produce(*arguments, **options)

    client = await _client(broker, monkeypatch, Forgetful)
    broker.fail(PRODUCE, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
    with pytest.raises(KafkaException, match="OUT_OF_ORDER_SEQUENCE_NUMBER"):
        await asyncio.wait_for(client.write(record()), WITHIN)
    with pytest.raises(KafkaException, match="OUT_OF_ORDER_SEQUENCE_NUMBER"):
        await client.write(record())


async def test_answers_come_whatever_is_raised_before(
    broker: MockCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults: list[Exception] = [ValueError("a fault"), RuntimeError("another")]

    class Moody(Producer):
        def poll(self, timeout: float = -1) -> int:
            if faults:
                raise faults.pop()
            return super().poll(timeout)

    client = await _client(broker, monkeypatch, Moody)
    assert await asyncio.wait_for(client.write(record()), WITHIN) == 0
    assert len(lines(caplog, "something unexpected")) == 2
    await client.close()


async def _client(broker: MockCluster, monkeypatch: pytest.MonkeyPatch, kind: type[Producer]) -> ProducerClient:
    monkeypatch.setattr("streams.kafka.producer.client.Producer", kind)
    return ProducerClient({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True})


# -- records that are not taken ---------------------------------------------------------------------------------------


async def test_a_refused_record_is_sent_until_it_is_taken(
    broker: MockCluster, caplog: pytest.LogCaptureFixture
) -> None:
    async with sender(broker) as sending:
        broker.fail(PRODUCE, *[KafkaError.INVALID_TIMESTAMP] * 3)
        assert await asyncio.wait_for(append(sending, record()), WITHIN) == FIRST
    (line,) = lines(caplog, "a record is sent again")
    assert line.startswith(f"{TOPIC}: ")
    assert "INVALID_TIMESTAMP" in line


async def test_many_records_that_are_sent_again_make_a_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    reports = ResentReports()
    for number in range(300):
        reports.report("a", f"reason {number}")
        reports.report("b", "another")
    assert len(caplog.records) == 2, "one of each topic, at once"
    await until(lambda: len(caplog.records) == 4)
    assert lines(caplog, "a: 299 more records are sent again, the last because of: reason 299")
    assert lines(caplog, "b: 299 more records are sent again")
    reports.report("a", "once more")
    await until(lambda: len(caplog.records) == 5)
    assert lines(caplog, "a: 1 more records are sent again, the last because of: once more")


async def test_a_full_queue_of_the_client_is_waited_for(broker: MockCluster, caplog: pytest.LogCaptureFixture) -> None:
    began = monotonic()
    async with sender(broker, **{"queue.buffering.max.kbytes": 1}) as sending:
        broker.hang_up()
        tasks = writes(sending, 50, size=300)
        await asyncio.sleep(0.5)
        assert not any(task.done() for task in tasks)
        broker.answer()
        assert sorted(await all_of(tasks)) == list(range(FIRST, FIRST + 50))
    assert "_QUEUE_FULL" in lines(caplog, "a record is sent again")[0]
    # Each of some forty records is tried ten times a second.
    assert len(lines(caplog, "sent again")) <= 2 + (monotonic() - began)


async def test_who_gives_up_is_told_of_what_time_does_not_heal(broker: MockCluster) -> None:
    async with sender(broker) as sending:
        broker.fail(PRODUCE, *[KafkaError.MSG_SIZE_TOO_LARGE] * 2)  # Of its batch, and alone.
        with pytest.raises(FollowUpRefused, match=r"t did not take a job that this one published: .*too large"):
            await asyncio.wait_for(sending.send(record()), WITHIN)


async def test_nobody_gives_up_what_time_heals(broker: MockCluster) -> None:
    async with sender(broker) as sending:
        broker.fail(PRODUCE, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
        await asyncio.wait_for(sending.send(record()), WITHIN)
        assert await append(sending, record()) == FIRST + 1


async def test_who_no_longer_waits_is_forgotten(broker: MockCluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "asyncio")
    async with sender(broker) as sending:
        broker.delay(0.2)
        (task,) = writes(sending, 1)
        await asyncio.sleep(0.05)
        task.cancel()
        broker.delay(0)
        assert await append(sending, record()) == FIRST + 1
    assert not lines(caplog, "")


async def test_closing_waits_for_nothing(broker: MockCluster) -> None:
    async with sender(broker) as sending:
        broker.hang_up()
        (task,) = writes(sending, 1)
        await asyncio.sleep(0.1)
        began = monotonic()
        await sending.close()
        assert monotonic() - began < 2
        assert not task.done()
        task.cancel()


# -- offsets that nobody knows ----------------------------------------------------------------------------------------


async def test_what_is_delivered_to_an_unknown_offset_is_delivered(broker: MockCluster) -> None:
    async with sender(broker) as sending:
        broker.fail(PRODUCE, KafkaError.DUPLICATE_SEQUENCE_NUMBER)
        await asyncio.wait_for(sending.send(record()), WITHIN)
        assert await append(sending, record()) == FIRST, "nothing was sent twice: the mock has not kept it"


async def test_who_needs_the_offset_gets_a_true_one(broker: MockCluster, caplog: pytest.LogCaptureFixture) -> None:
    async with sender(broker) as sending:
        broker.fail(PRODUCE, KafkaError.DUPLICATE_SEQUENCE_NUMBER)
        assert await asyncio.wait_for(append(sending, record()), WITHIN) == FIRST
    assert len(lines(caplog, "does not say at which offset")) == 1


async def test_the_records_of_a_whole_batch_get_true_offsets(broker: MockCluster) -> None:
    """Librdkafka reports them as written to -1, 0, 1, 2 and so on."""
    async with sender(broker) as sending:
        broker.fail(PRODUCE, KafkaError.DUPLICATE_SEQUENCE_NUMBER)
        committed = await all_of(writes(sending, 100))
        assert sorted(committed) == list(range(FIRST, FIRST + 100))


def test_made_up_offsets_are_those_that_count_up_from_an_unknown_one() -> None:
    told = ReportedOffsets()

    def of(offset: int, partition: int = 0) -> int | None:
        return told.of(Message(topic=TOPIC, partition=partition, offset=offset))

    assert [of(offset) for offset in (0, 1, 7, -1, 0, 1)] == [0, 1, 7, None, None, None]
    assert of(2, partition=1) == 2
    assert [of(offset) for offset in (8, 9)] == [8, 9]
    assert [of(offset) for offset in (-1, -1, 0, 10, 1)] == [None, None, None, 10, 1]
