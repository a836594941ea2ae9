"""The producers on a real broker."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress

import pytest
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from producers import (
    AsyncJobProducer,
    DeliveriesFailed,
    DeliveryFailed,
    DeliveryPending,
    JobProducer,
    LogPosition,
    PayloadInvalid,
    PayloadTooLarge,
    ProducerClosed,
    ProducerSettings,
)
from schemas.catalog import shipped
from schemas.codec import Codec
from schemas.models.email import SendEmail
from tests.brokers import Broker
from tests.topics import Record, count, partitions, read_all
from tests.waiting import until

PARTITIONS = 4
CODEC = Codec(shipped())
TINY_BUFFER = {"queue.buffering.max.messages": 10}


def email(number: int = 0) -> SendEmail:
    return SendEmail(to=["someone@example.org"], subject=str(number), text="")


def create_topic(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result()
    until(lambda: led(bootstrap, topic), within=30, what=f"a leader for each partition of {topic}")


def led(bootstrap: str, topic: str) -> bool:
    """Whether the broker leads the partitions of a new topic already, so that it can be read."""
    with suppress(KafkaException):
        return count(bootstrap, topic) == 0 and partitions(bootstrap, topic) == PARTITIONS
    return False


def numbers(records: Iterable[Record]) -> list[int]:
    return [int(CODEC.decode(record.value)[1].subject) for record in records]


def by_key(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[(record.key or b"").decode()].append(record)
    return found


@pytest.fixture
def settings(kafka: str, namespace: str) -> ProducerSettings:
    """Settings of a producer whose queue "email" exists."""
    create_topic(kafka, f"{namespace}.email")
    return ProducerSettings(bootstrap_servers=kafka, namespace=namespace, source="tests")


@pytest.fixture
def producer(settings: ProducerSettings) -> Iterator[JobProducer]:
    with JobProducer(settings) as producer:
        yield producer


def test_a_job_is_in_the_log_with_its_metadata_as_cloudevents_headers(
    producer: JobProducer, settings: ProducerSettings
) -> None:
    handle = producer.publish(email(), key="customer-7", timeout=30, headers={"tenant": "acme"})
    assert handle.id
    position = handle.result(timeout=30)
    assert handle.done()
    assert position == LogPosition(f"{settings.namespace}.email", handle.partition or 0, 0)
    assert handle.offset == 0
    (record,) = read_all(settings.bootstrap_servers, position.topic)
    assert record.key == b"customer-7"
    assert CODEC.decode(record.value) == ("jobs.email.SendEmail", email())
    headers = dict(record.headers)
    assert headers.pop("ce_time")
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": handle.id.encode(),
        "ce_type": b"jobs.email.SendEmail",
        "ce_source": b"tests",
        "content-type": b"application/avro",
        "job-timeout-ms": b"30000",
        "tenant": b"acme",
    }


def test_before_delivery_a_handle_has_an_id_and_no_place(settings: ProducerSettings) -> None:
    with JobProducer(settings, client_options={"linger.ms": 60_000}) as producer:
        handle = producer.publish(email(), id="order-1")
        assert (handle.id, handle.partition, handle.offset, handle.done()) == ("order-1", None, None, False)
        with pytest.raises(DeliveryPending, match=r"job order-1: no outcome within 0\.05 s"):
            handle.result(timeout=0.05)
        with pytest.raises(DeliveryPending):
            producer.flush(timeout=0)
    assert handle.offset == 0  # The end of the block does not wait for the minute to be over.


def test_publish_many_takes_payloads_and_pairs_with_keys(producer: JobProducer, settings: ProducerSettings) -> None:
    handles = producer.publish_many([email(0), (email(1), "k"), (email(2), "k")], headers={"run": "1"})
    producer.flush()
    assert all(handle.offset is not None for handle in handles)
    records = read_all(settings.bootstrap_servers, handles[0].topic)
    assert sorted(numbers(records)) == [0, 1, 2]
    assert numbers([record for record in records if record.key == b"k"]) == [1, 2]


def test_publish_many_sends_nothing_when_one_is_refused(producer: JobProducer, settings: ProducerSettings) -> None:
    wrong = SendEmail(to=["a@b.c"], subject=7, text="")  # type: ignore[arg-type]
    with pytest.raises(PayloadInvalid, match="field 'subject'"):
        producer.publish_many([email(0), wrong])
    producer.flush()
    assert read_all(settings.bootstrap_servers, f"{settings.namespace}.email") == []


def test_the_largest_record_allowed_is_delivered_and_one_byte_more_is_refused(
    producer: JobProducer, settings: ProducerSettings
) -> None:
    def of_size(text: int) -> SendEmail:
        return SendEmail(to=["a@b.c"], subject="", text=os.urandom(text // 2).hex())

    with pytest.raises(PayloadTooLarge) as caught:
        producer.publish(of_size(1_000_000), key="k")
    fitting = 1_000_000 - (caught.value.size - caught.value.limit)
    assert producer.publish(of_size(fitting - fitting % 2), key="k").result(30).offset == 0
    with pytest.raises(PayloadTooLarge, match="the limit is 1,000,000"):
        producer.publish(of_size(fitting + 2), key="k")
    assert len(read_all(settings.bootstrap_servers, f"{settings.namespace}.email")) == 1


def test_keys_are_placed_as_java_and_aiokafka_place_them(producer: JobProducer) -> None:
    keys = [f"customer-{number}" for number in range(200)]
    handles = producer.publish_many((email(), key) for key in keys)
    producer.flush()
    all_partitions = list(range(PARTITIONS))
    expected = [DefaultPartitioner()(key.encode(), all_partitions, all_partitions) for key in keys]
    assert [handle.partition for handle in handles] == expected


def test_a_full_buffer_holds_the_publisher_back_and_loses_nothing(settings: ProducerSettings) -> None:
    with JobProducer(settings, client_options=TINY_BUFFER) as producer:
        handles = [producer.publish(email(number), key="k") for number in range(1_000)]
    assert [handle.offset for handle in handles] == list(range(1_000))
    assert numbers(read_all(settings.bootstrap_servers, handles[0].topic)) == list(range(1_000))


def test_threads_share_a_producer(producer: JobProducer, settings: ProducerSettings) -> None:
    positions: list[LogPosition] = []

    def publish(thread: int) -> None:
        positions.extend(producer.publish(email(number), key=str(thread)).result(30) for number in range(50))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(positions)) == 400
    found = by_key(read_all(settings.bootstrap_servers, f"{settings.namespace}.email"))
    assert all(numbers(records) == list(range(50)) for records in found.values())


def test_a_missing_topic_is_raised_by_result_with_the_remedy(kafka: str, namespace: str) -> None:
    with JobProducer(ProducerSettings(bootstrap_servers=kafka, namespace=namespace)) as producer:
        handle = producer.publish(email(), id="order-1")
        with pytest.raises(DeliveryFailed, match=rf"job order-1 .* to {namespace}\.email: .*start a worker"):
            handle.result(timeout=30)
        assert handle.done()
        assert handle.partition is None


def test_a_failure_nobody_looked_at_is_raised_by_flush(kafka: str, namespace: str) -> None:
    with JobProducer(ProducerSettings(bootstrap_servers=kafka, namespace=namespace)) as producer:
        handles = producer.publish_many([email(1), email(2), email(3)])
        with pytest.raises(DeliveriesFailed, match="3 jobs were not delivered") as caught:
            producer.flush()
        assert {failure.job_id for failure in caught.value.failures} == {handle.id for handle in handles}
        producer.flush()


def test_a_failure_nobody_looked_at_is_raised_at_the_end_of_the_block(kafka: str, namespace: str) -> None:
    producer = JobProducer(ProducerSettings(bootstrap_servers=kafka, namespace=namespace))
    with pytest.raises(DeliveryFailed, match="was not delivered"), producer:
        producer.publish(email())


def test_the_block_s_own_error_goes_first_and_the_failure_is_logged(
    kafka: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    producer = JobProducer(ProducerSettings(bootstrap_servers=kafka, namespace=namespace))
    with pytest.raises(ZeroDivisionError), producer:
        producer.publish(email(), id="order-1")
        _ = 1 // 0
    assert "job order-1 was not delivered" in caplog.text


def test_a_failure_is_logged_even_when_the_producer_is_idle(
    kafka: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    producer = JobProducer(ProducerSettings(bootstrap_servers=kafka, namespace=namespace))
    producer.publish(email(), id="order-1")
    until(lambda: "job order-1 was not delivered" in caplog.text, within=30, what="a line in the log")
    with pytest.raises(DeliveryFailed):
        producer.close()


def test_a_closed_producer_says_so(settings: ProducerSettings) -> None:
    with JobProducer(settings) as producer:
        producer.publish(email())
    with pytest.raises(ProducerClosed, match="is closed"):
        producer.publish(email())
    producer.close()


def test_a_broker_that_is_gone_fails_deliveries_in_time(own_broker: Broker, namespace: str) -> None:
    create_topic(own_broker.bootstrap, f"{namespace}.email")
    settings = ProducerSettings(bootstrap_servers=own_broker.bootstrap, namespace=namespace, delivery_timeout_ms=2_000)
    with JobProducer(settings) as producer:
        producer.publish(email()).result(30)
        own_broker.stop()
        with pytest.raises(DeliveryFailed, match=r"_MSG_TIMED_OUT.*KAFKA_BOOTSTRAP_SERVERS can be reached"):
            producer.publish(email()).result(30)


def test_order_per_key_holds_through_a_restart_of_the_broker(own_broker: Broker, namespace: str) -> None:
    create_topic(own_broker.bootstrap, f"{namespace}.email")
    with JobProducer(ProducerSettings(bootstrap_servers=own_broker.bootstrap, namespace=namespace)) as producer:
        handles = [producer.publish(email(number), key=str(number % 50)) for number in range(3_000)]
        handles[0].result(30)
        restart = threading.Thread(target=lambda: (own_broker.stop(), own_broker.start()))
        restart.start()
        for number in range(3_000, 10_000):
            handles.append(producer.publish(email(number), key=str(number % 50)))
            if number % 10 == 0:
                threading.Event().wait(0.002)  # So that the broker goes and comes back in the middle.
        restart.join()
    assert all(handle.offset is not None for handle in handles)
    for key, records in by_key(read_all(own_broker.bootstrap, f"{namespace}.email")).items():
        assert numbers(records) == list(range(int(key), 10_000, 50))


def run_program(source: str, settings: ProducerSettings) -> subprocess.CompletedProcess[str]:
    program = f"""
        import os
        from producers import JobProducer, ProducerSettings
        from schemas.models.email import SendEmail
        email = SendEmail(to=["a@b.c"], subject="0", text="")
        producer = JobProducer(ProducerSettings(
            bootstrap_servers={settings.bootstrap_servers!r}, namespace={settings.namespace!r}))
    """
    whole = textwrap.dedent(program) + textwrap.dedent(source)
    return subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=False, timeout=60)


def test_a_program_that_just_ends_still_delivers(settings: ProducerSettings) -> None:
    done = run_program("for _ in range(100): producer.publish(email)", settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(read_all(settings.bootstrap_servers, f"{settings.namespace}.email")) == 100


def test_a_forked_child_publishes_through_a_client_of_its_own(settings: ProducerSettings) -> None:
    source = """
        producer.publish(email).result(30)
        child = os.fork()
        if child == 0:
            producer.publish(email).result(30)
            producer.close()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        producer.publish(email).result(30)
        producer.close()
        raise SystemExit(os.waitstatus_to_exitcode(status))
    """
    done = run_program(source, settings)
    assert done.returncode == 0, done.stderr
    assert len(read_all(settings.bootstrap_servers, f"{settings.namespace}.email")) == 3


async def test_many_tasks_publish_at_once(settings: ProducerSettings) -> None:
    async with AsyncJobProducer(settings) as producer:

        async def publish(number: int) -> LogPosition:
            return await (await producer.publish(email(number), key="k"))

        positions = await asyncio.gather(*(publish(number) for number in range(5_000)))
    assert [position.offset for position in positions] == list(range(5_000))
    assert numbers(read_all(settings.bootstrap_servers, positions[0].topic)) == list(range(5_000))


async def test_a_full_buffer_holds_tasks_back_in_order_and_the_loop_goes_on(settings: ProducerSettings) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    async with AsyncJobProducer(settings, client_options=TINY_BUFFER) as producer:
        ticking = asyncio.create_task(tick())
        handles = await asyncio.gather(*(producer.publish(email(number), key="k") for number in range(500)))
        ticking.cancel()
    assert ticks > 100
    assert [handle.offset for handle in handles] == list(range(500))
    assert numbers(read_all(settings.bootstrap_servers, handles[0].topic)) == list(range(500))


async def test_publishing_without_a_pause_lets_other_tasks_run(settings: ProducerSettings) -> None:
    async with AsyncJobProducer(settings) as producer:
        await (await producer.publish(email()))
        publishing = asyncio.create_task(producer.publish_many([email()] * 5_000))
        ticks = 0
        while not publishing.done():
            await asyncio.sleep(0)
            ticks += 1
    assert ticks > 10


async def test_cancelling_one_that_awaits_changes_nothing_for_the_others(settings: ProducerSettings) -> None:
    async with AsyncJobProducer(settings, client_options={"linger.ms": 200}) as producer:
        handle = await producer.publish(email())
        impatient, patient = (asyncio.ensure_future(handle.result()) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).offset == 0
        assert (await handle).offset == 0
        assert impatient.cancelled()
    assert len(read_all(settings.bootstrap_servers, handle.topic)) == 1


async def test_a_cancelled_publish_was_not_sent(settings: ProducerSettings) -> None:
    async with AsyncJobProducer(settings, client_options=TINY_BUFFER) as producer:
        tasks = [asyncio.create_task(producer.publish(email(number), key="k")) for number in range(100)]
        await asyncio.sleep(0)
        cancelled = [number for number, task in enumerate(tasks) if number % 2 and task.cancel()]
        await asyncio.wait(tasks)
    assert cancelled
    sent = [number for number in range(100) if number not in cancelled]
    assert numbers(read_all(settings.bootstrap_servers, f"{settings.namespace}.email")) == sent


async def test_a_failure_whose_awaiting_task_was_cancelled_is_raised_at_the_end(kafka: str, namespace: str) -> None:
    with pytest.raises(DeliveryFailed, match="start a worker"):
        async with AsyncJobProducer(ProducerSettings(bootstrap_servers=kafka, namespace=namespace)) as producer:
            waiting = asyncio.ensure_future((await producer.publish(email())).result())
            await asyncio.sleep(0)
            waiting.cancel()


async def test_a_failure_is_raised_by_awaiting_the_handle(kafka: str, namespace: str) -> None:
    async with AsyncJobProducer(ProducerSettings(bootstrap_servers=kafka, namespace=namespace)) as producer:
        handle = await producer.publish(email())
        with pytest.raises(DeliveryPending):
            await handle.result(timeout=0.01)
        with pytest.raises(DeliveryFailed, match="start a worker"):
            await handle


async def test_async_flush_waits_so_long_and_no_longer(settings: ProducerSettings) -> None:
    async with AsyncJobProducer(settings, client_options={"linger.ms": 500}) as producer:
        handles = await producer.publish_many([email(), (email(), "k")])
        with pytest.raises(DeliveryPending, match="2 jobs: no outcome within"):
            await producer.flush(timeout=0.01)
        await producer.flush()
        assert all(handle.done() for handle in handles)
    with pytest.raises(ProducerClosed):
        await producer.publish(email())
