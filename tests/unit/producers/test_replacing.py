"""A Kafka client that fails for good, as some do when a broker restarts, and the one that takes its place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic

import pytest
from confluent_kafka import KafkaError

from producers import AsyncJobProducer, DeliveriesFailed, DeliveryFailed, JobProducer, LogPosition
from producers.delivery.handle import Handle
from tests.forgetful import forgetful
from tests.mock_cluster import INIT_PRODUCER_ID, PRODUCE, MockCluster
from tests.unit.producers.brokers import WITHIN, email, mocked, settings
from tests.waiting import until

FATAL = KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER

#: Of a client that is silent for longer than a connection may take it is known that it makes none. Milliseconds.
SOON_SURE = {"socket.connection.setup.timeout.ms": 1_000}


@pytest.fixture
def broker() -> Iterator[MockCluster]:
    with mocked() as broker:
        yield broker


def outcome(handle: Handle) -> LogPosition | DeliveryFailed:
    assert handle._settled()
    try:
        return handle._outcome()
    except DeliveryFailed as failure:
        return failure


def check(outcomes: list[LogPosition | DeliveryFailed]) -> None:
    """Some have failed, none knows whether it was written, and the others lie in the order of their calls."""
    failures = [each for each in outcomes if isinstance(each, DeliveryFailed)]
    offsets = [each.offset for each in outcomes if isinstance(each, LogPosition)]
    assert failures
    assert all(failure.may_be_written for failure in failures)
    assert all("may not have been delivered" in str(failure) for failure in failures)
    assert all("publish it again under the same id" in str(failure) for failure in failures)
    assert offsets == sorted(offsets)
    assert isinstance(outcomes[-1], LogPosition)


def test_a_client_that_fails_for_good_is_replaced(broker: MockCluster, caplog: pytest.LogCaptureFixture) -> None:
    producer = JobProducer(settings(broker))
    producer.publish(email()).result(WITHIN)
    broker.delay(0.1)
    broker.fail(PRODUCE, FATAL)
    handles = [producer.publish(email(number), key="k") for number in range(200)]
    began = monotonic()
    while not caplog.records:  # Nobody waits for a report: publishing alone has to find it.
        handles.append(producer.publish(email(), key="k"))
        assert monotonic() - began < WITHIN
    broker.delay(0)
    handles += [producer.publish(email(number), key="k") for number in range(200)]
    with pytest.raises((DeliveriesFailed, DeliveryFailed)):
        producer.flush(WITHIN)
    check([outcome(handle) for handle in handles])
    producer.close(WITHIN)
    assert [each.levelno for each in caplog.records if each.getMessage().startswith("the Kafka client")] == [
        logging.ERROR
    ]


def test_waiting_alone_finds_that_a_client_has_failed(broker: MockCluster) -> None:
    with JobProducer(settings(broker)) as producer:
        producer.publish(email()).result(WITHIN)
        broker.fail(PRODUCE, FATAL)
        with pytest.raises(DeliveryFailed) as failed:
            producer.publish(email()).result(WITHIN)
        assert failed.value.may_be_written
        assert producer.publish(email()).result(WITHIN).offset > 0


async def test_an_asyncio_producer_goes_on_and_so_does_its_loop(broker: MockCluster) -> None:
    async with AsyncJobProducer(settings(broker)) as producer:
        await (await producer.publish(email()))
        broker.delay(0.1)
        broker.fail(PRODUCE, FATAL)
        stood = 0.0
        handles, last = [], monotonic()
        for number in range(300):
            handles.append(await producer.publish(email(number), key="k"))
            await asyncio.sleep(0.01)
            stood, last = max(stood, monotonic() - last), monotonic()
        outcomes = await asyncio.wait_for(asyncio.gather(*handles, return_exceptions=True), WITHIN)
    check(outcomes)  # type: ignore[arg-type]


def test_clients_that_fail_at_their_start_are_not_made_in_a_rush_and_every_job_says_why(
    broker: MockCluster, caplog: pytest.LogCaptureFixture
) -> None:
    broker.fail(INIT_PRODUCER_ID, *[KafkaError.CLUSTER_AUTHORIZATION_FAILED] * 2)
    producer = JobProducer(settings(broker))
    failures = 0
    began = monotonic()
    while True:
        try:
            producer.publish(email()).result(WITHIN)
            break
        except DeliveryFailed as failure:
            failures += 1
            assert "Cluster authorization failed" in str(failure)
            assert "IdempotentWrite" in str(failure)
    assert failures == 2
    assert monotonic() - began > 1.5
    producer.close()


def test_an_answer_that_never_comes_is_given_up(broker: MockCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever librdkafka makes of its jobs: nobody waits for ever."""
    with JobProducer(settings(broker)) as producer:
        producer.publish(email()).result(WITHIN)
        monkeypatch.setattr(Handle, "_report", lambda *_: None)
        forgotten = producer.publish(email())
        producer._client.flush(WITHIN)
        monkeypatch.undo()
        with pytest.raises(DeliveryFailed, match="its report is lost") as failed:
            forgotten.result(WITHIN)
        assert failed.value.may_be_written


def test_a_client_that_gets_a_job_through_in_no_time_is_replaced(
    broker: MockCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have lost sight of the leader for good, as where a topic was made anew; the brokers are there."""
    # Long enough to connect a second time, where a busy machine had the first attempt fail.
    with JobProducer(settings(broker, delivery_timeout_ms=4_000)) as producer:
        producer.publish(email()).result(WITHIN)
        before = producer._client._producer
        broker.delay(WITHIN)
        with pytest.raises(DeliveryFailed, match="_MSG_TIMED_OUT"):
            producer.publish(email()).result(WITHIN)
        broker.delay(0)
        until(lambda: producer.publish(email()) and producer._client._producer is not before, within=WITHIN,
              what="another client takes its place")  # fmt: skip
        assert producer.publish(email()).result(WITHIN).offset
        with suppress(DeliveryFailed, DeliveriesFailed):
            producer.flush(WITHIN)
    assert "another takes its place" in caplog.text


def test_a_client_that_reaches_no_broker_is_kept(broker: MockCluster) -> None:
    """What is in its buffer is delivered when one is back, and no other could do better."""
    with JobProducer(settings(broker, delivery_timeout_ms=2_000)) as producer:
        producer.publish(email()).result(WITHIN)
        before = producer._client._producer
        broker.hang_up()
        with pytest.raises(DeliveryFailed, match="_MSG_TIMED_OUT"):
            producer.publish(email()).result(WITHIN)
        broker.answer()
        assert producer.publish(email()).result(WITHIN).offset
        assert producer._client._producer is before


def test_a_client_that_has_lost_sight_of_all_brokers_is_replaced(broker: MockCluster) -> None:
    """As when the only broker of a cluster restarts: its jobs are told of in some seconds, not in two minutes."""
    with forgetful(broker.bootstrap) as way:
        found = settings(broker).model_copy(update={"bootstrap_servers": way.address})
        with JobProducer(found, client_options=SOON_SURE) as producer:
            topic = producer.publish(email()).result(WITHIN).topic
            client = producer._client._producer
            assert client is not None
            way.be_forgotten(client, topic)
            with pytest.raises(DeliveryFailed, match="has lost sight of all brokers") as failed:
                producer.publish(email()).result(WITHIN)
            assert failed.value.may_be_written
            assert producer.publish(email()).result(WITHIN).topic == topic
