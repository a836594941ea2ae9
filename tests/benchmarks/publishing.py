"""Publishing: our producers against a bare loop that encodes and produces.

The bare loop writes the same payload with the same framing through the same client configuration, and nothing else: no
headers, no ids, no delivery reports. The runs take turns in one process, so that all meet the same machine; so does
BullMQ's addBulk, in a process of its own.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from io import BytesIO
from statistics import median
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from fastavro import schemaless_writer

from producers import AsyncJobProducer, JobProducer, ProducerSettings
from producers.delivery.client_config import client_config
from schemas.catalog import shipped
from schemas.codec import SINGLE_OBJECT
from schemas.models.email import SendEmail
from tests.benchmarks.bullmq import BullMQ, bullmq
from tests.benchmarks.contenders import measure
from tests.benchmarks.result import Result

JOBS = 100_000
KEYS = [f"customer-{number}" for number in range(1_000)]
PARTITIONS = 12
GOAL = 75.0
OF_BULLMQ = 4.0
#: Jobs of one addBulk.
BULK = 1_000


def run(bootstrap: str, runs: int) -> list[Result]:
    """Measure `runs` times each and return the medians."""
    settings = ProducerSettings(bootstrap_servers=bootstrap, namespace=f"bench-{uuid.uuid4().hex[:8]}")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topic = f"{settings.namespace}.email"
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result()
    contenders: dict[str, Callable[[ProducerSettings], float]] = {
        "bare": _bare,
        "sync": _sync,
        "async": lambda settings: asyncio.run(_async(settings)),
    }
    with bullmq() as other:
        if other is not None:
            contenders["BullMQ"] = lambda _: _add_bulk(other)
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for name in list(contenders) * (runs + 1):  # The first round warms up.
            rates[name].append(JOBS / contenders[name](settings))
    admin.delete_topics([topic])[topic].result()
    return _results({name: measured[1:] for name, measured in rates.items()})


def _results(rates: dict[str, list[float]]) -> list[Result]:
    def percent(name: str) -> float:
        return median(100 * ours / bare for ours, bare in zip(rates[name], rates["bare"], strict=True))

    results = [
        Result("publish: bare encode-and-produce loop", median(rates["bare"]), "jobs/s", "", None),
        Result("publish: JobProducer", median(rates["sync"]), "jobs/s", "", None),
        Result("publish: AsyncJobProducer", median(rates["async"]), "jobs/s", "", None),
        Result("publish: JobProducer of bare loop", percent("sync"), "%", f">= {GOAL:.0f} %", percent("sync") >= GOAL),
        Result("publish: AsyncJobProducer of bare loop", percent("async"), "%", "", None),
    ]
    if "BullMQ" in rates:
        times = median(ours / other for ours, other in zip(rates["sync"], rates["BullMQ"], strict=True))
        results += [
            Result("publish: BullMQ, addBulk", median(rates["BullMQ"]), "jobs/s", "", None),
            Result(
                "publish: JobProducer to BullMQ's addBulk",
                times,
                "times",
                f">= {OF_BULLMQ:g} times",
                times >= OF_BULLMQ,
            ),
        ]
    return results


def _add_bulk(other: BullMQ) -> float:
    return measure(other.publisher("bulk", BULK), JOBS).seconds


def _payload() -> dict[str, Any]:
    return {"to": ["someone@example.org"], "subject": "Your order", "text": "x" * 160}


def _bare(settings: ProducerSettings) -> float:
    schema = shipped().current(SendEmail.JOB_TYPE)
    prefix = SINGLE_OBJECT + schema.fingerprint
    topic = f"{settings.namespace}.email"
    payload = asdict(SendEmail(**_payload()))
    keys = [key.encode() for key in KEYS]
    producer = Producer(client_config(settings, {}))
    producer.list_topics(topic)
    start = time.perf_counter()
    for number in range(JOBS):
        stream = BytesIO()
        stream.write(prefix)
        schemaless_writer(stream, schema.parsed, payload)
        while True:
            try:
                producer.produce(topic, stream.getvalue(), keys[number % len(keys)])
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()
    return time.perf_counter() - start


def _sync(settings: ProducerSettings) -> float:
    payload = SendEmail(**_payload())
    with JobProducer(settings) as producer:
        producer.publish(payload).result()
        start = time.perf_counter()
        for number in range(JOBS):
            producer.publish(payload, key=KEYS[number % len(KEYS)])
        producer.flush()
        return time.perf_counter() - start


async def _async(settings: ProducerSettings) -> float:
    payload = SendEmail(**_payload())
    async with AsyncJobProducer(settings) as producer:
        await (await producer.publish(payload))
        start = time.perf_counter()
        for number in range(JOBS):
            await producer.publish(payload, key=KEYS[number % len(KEYS)])
        await producer.flush()
        return time.perf_counter() - start
