"""Programs that end, fork or are interrupted while jobs are on their way."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers import (
    AsyncJobProducer,
    DeliveriesFailed,
    DeliveryFailed,
    DeliveryPending,
    JobProducer,
    ProducerClosed,
    ProducerSettings,
)
from tests.mock_cluster import MockCluster
from tests.unit.producers.brokers import NAMESPACE, WITHIN, email, mocked, settings
from tests.waiting import until

PROGRAM = """
    import asyncio, atexit, os, sys
    {before}
    from producers import AsyncJobProducer, DeliveryFailed, JobProducer, ProducerSettings
    from schemas.models.email import SendEmail
    email = SendEmail(to=["a@b.c"], subject="0", text="")
    settings = ProducerSettings(bootstrap_servers={bootstrap!r}, namespace={namespace!r})
"""


@pytest.fixture
def broker() -> Iterator[MockCluster]:
    with mocked() as broker:
        yield broker


def run(broker: MockCluster, source: str, before: str = "") -> subprocess.CompletedProcess[str]:
    head = PROGRAM.format(bootstrap=broker.bootstrap, namespace=NAMESPACE, before=before)
    program = textwrap.dedent(head) + textwrap.dedent(source)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=2 * WITHIN
    )


def next_offset(broker: MockCluster) -> int:
    with JobProducer(settings(broker)) as producer:
        return producer.publish(email()).result(WITHIN).offset


def test_what_a_program_publishes_at_its_end_is_delivered(broker: MockCluster) -> None:
    source = """
        producer = JobProducer(settings)
        asynchronous = AsyncJobProducer(settings)
        producer.publish(email)
        asyncio.run(asynchronous.publish(email))
        atexit.register(producer.publish, email)
    """
    done = run(broker, source)
    assert (done.returncode, done.stderr) == (0, "")
    assert next_offset(broker) == 3


def test_what_comes_too_late_to_be_delivered_is_refused(broker: MockCluster) -> None:
    """A hook from before our import runs after ours; so does a destructor at the very end."""
    source = """
        producer = JobProducer(settings)
        producer.publish(email)

        class Last:
            def __del__(self, email=email, producer=producer):
                producer.publish(email)

        last = Last()
    """
    done = run(broker, source, before="atexit.register(lambda: producer.publish(email))")
    assert done.stderr.count("Exception ignored") == 2, done.stderr
    assert "ProducerClosed: this producer is closed, or the program ends" in done.stderr
    assert next_offset(broker) == 1


def test_a_forked_child_is_told_of_no_job_of_its_parent_and_publishes_its_own(broker: MockCluster) -> None:
    source = """
        async def deliver():
            return await asyncio.wait_for(await asynchronous.publish(email), 20)

        producer, asynchronous = JobProducer(settings), AsyncJobProducer(settings)
        asyncio.run(deliver())
        handle = producer.publish(email)
        if os.fork() == 0:
            try:
                handle.result(20)
            except DeliveryFailed as failed:
                assert failed.may_be_written and "forked" in str(failed), failed
            asyncio.run(deliver())
            producer.publish(email).result(20)
            assert producer._client.is_looked_after
            producer.close()
            asyncio.run(asynchronous.close())
            os._exit(0)
        status = os.wait()[1]
        handle.result(20)
        producer.publish(email).result(20)
        sys.exit(os.waitstatus_to_exitcode(status))
    """
    done = run(broker, source)
    assert done.returncode == 0, done.stderr
    assert next_offset(broker) == 5


@pytest.mark.usefixtures("heeded_signals")
def test_ctrl_c_ends_a_wait_and_not_the_delivery(broker: MockCluster) -> None:
    with JobProducer(settings(broker), client_options={"linger.ms": 60_000}) as producer:
        handle = producer.publish(email())
        interrupt = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            handle.result(WITHIN)
        producer.flush(WITHIN)
        assert handle.result(WITHIN).offset == 0


def test_closing_twice_and_without_a_broker_ends_in_time() -> None:
    producer = JobProducer(ProducerSettings(bootstrap_servers="127.0.0.1:1", delivery_timeout_ms=1_500))
    handle = producer.publish(email())
    with pytest.raises(DeliveryPending, match="a broker cannot be reached"):
        producer.close(timeout=0.5)
    with pytest.raises(DeliveryFailed, match=r"KAFKA_BOOTSTRAP_SERVERS can be reached"):
        producer.close()
    producer.close()
    assert handle.done()


def test_a_job_for_a_topic_that_is_known_to_be_missing_fails_as_the_first_one_did(broker: MockCluster) -> None:
    producer = JobProducer(settings(broker), client_options={"allow.auto.create.topics": False})
    for _ in range(3):
        with pytest.raises(DeliveryFailed, match="start a worker that serves the queue") as failed:
            producer.publish(email(), queue="nowhere").result(WITHIN)
        assert not failed.value.may_be_written
    producer.close()


def test_a_log_that_fails_takes_no_report_with_it(broker: MockCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on the device of the log")

    monkeypatch.setattr("producers.delivery.unobserved_failures._LOGGER.error", fail)
    producer = JobProducer(settings(broker), client_options={"allow.auto.create.topics": False})
    handles = producer.publish_many([email()] * 3, queue="nowhere")
    until(lambda: all(handle.done() for handle in handles), within=WITHIN, what="every job has its outcome")
    with pytest.raises(DeliveriesFailed, match="3 jobs were not delivered"):
        producer.close()


def connections(broker: MockCluster) -> int:
    """The connections that clients have to a broker."""
    ports = {int(server.rpartition(":")[2]) for server in broker.bootstrap.split(",")}
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(int(there.rpartition(":")[2], 16) in ports and state == _ESTABLISHED for _, _, there, state, *_ in rows)


#: As Linux writes it in /proc/net/tcp.
_ESTABLISHED = "01"


def test_a_closed_producer_keeps_no_connection(broker: MockCluster) -> None:
    """It is still referred to; else its client would go with it."""
    with JobProducer(settings(broker)) as producer:
        producer.publish(email()).result(WITHIN)
        assert connections(broker)
    until(lambda: not connections(broker), within=WITHIN, what="the client is gone")
    with pytest.raises(ProducerClosed):
        producer.publish(email())
    producer.flush()


async def test_a_closed_asynchronous_producer_keeps_no_connection(broker: MockCluster) -> None:
    async with AsyncJobProducer(settings(broker)) as producer:
        await (await producer.publish(email())).result(WITHIN)
        assert connections(broker)
    await asyncio.to_thread(until, lambda: not connections(broker), within=WITHIN, what="the client is gone")
    with pytest.raises(ProducerClosed):
        await producer.publish(email())
