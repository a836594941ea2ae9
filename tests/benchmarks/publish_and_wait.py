"""Publishing one job and waiting for it: one after the other, and a hundred at once on an event loop.

Beside a bare loop of confluent-kafka that waits for each record, with no linger, and BullMQ's `add`. All take turns, so
that they meet the same machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count

from confluent_kafka import Producer

from producers import AsyncJobProducer, ProducerSettings
from producers.delivery.client_config import client_config
from tests.benchmarks import backlog
from tests.benchmarks.bullmq import BullMQ, bullmq
from tests.benchmarks.contenders import measure, note
from tests.benchmarks.figures import Figure, Goal, Scale, shares

QUEUE = "waited"
PARTITIONS = 4
ONE_BY_ONE = 5_000
AT_ONCE, WIDTH = 50_000, 100
_KEYS = [f"customer-{number}" for number in range(1_000)]


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure all of them in turn."""
    few, many = scale.jobs(ONE_BY_ONE), scale.jobs(AT_ONCE)
    rates: dict[str, list[float]] = {}
    with backlog.queue(bootstrap, QUEUE, PARTITIONS) as namespace, bullmq() as other:
        settings = ProducerSettings(bootstrap_servers=bootstrap, namespace=namespace)
        contenders: dict[str, Callable[[], float]] = {
            "bare": lambda: _bare(settings, few),
            "ours": lambda: _ours(settings, few),
            "ours at once": lambda: asyncio.run(_at_once(settings, many)),
        }
        if other is not None:
            contenders["BullMQ"] = lambda: _of(other, few, "one")
            contenders["BullMQ at once"] = lambda: _of(other, many, "flight", WIDTH)
        for _ in range(scale.runs):
            for name, contender in contenders.items():
                rates.setdefault(name, []).append(contender())
                note(f"publish and wait, {name}: {rates[name][-1]:,.0f} jobs/s")
    return _figures(rates)


def _figures(rates: dict[str, list[float]]) -> list[Figure]:
    of_bare = shares(rates["ours"], rates["bare"])
    figures = [
        Figure("publish, wait, next: bare loop without linger", "jobs/s", rates["bare"]),
        Figure("publish, wait, next: JobProducer", "jobs/s", rates["ours"]),
        Figure("publish, wait, next: JobProducer of bare loop", "%", of_bare, Goal(">=", 80)),
        Figure(f"publish and await, {WIDTH} at once: AsyncJobProducer", "jobs/s", rates["ours at once"]),
    ]
    if "BullMQ" in rates:
        at_once = shares(rates["ours at once"], rates["BullMQ at once"], 1)
        figures += [
            Figure("publish, wait, next: BullMQ", "jobs/s", rates["BullMQ"]),
            Figure(f"publish and await, {WIDTH} at once: BullMQ", "jobs/s", rates["BullMQ at once"]),
            Figure(f"publish and await, {WIDTH} at once, to BullMQ", "times", at_once, Goal(">=", 1.5)),
        ]
    return figures


def _of(other: BullMQ, jobs: int, way: str, option: int = 0) -> float:
    return measure(other.publisher(way, option), jobs).rate


def _bare(settings: ProducerSettings, jobs: int) -> float:
    """Jobs a second of a loop that only encodes, produces and polls until the broker has it."""
    producer = Producer({**client_config(settings, {}), "linger.ms": 0}, logger=None)
    topic = f"{settings.namespace}.{QUEUE}"
    value = b"x" * backlog.VALUE_BYTES
    arrived: list[object] = []

    def publish(number: int) -> None:
        producer.produce(
            topic, value, _KEYS[number % len(_KEYS)], on_delivery=lambda _, message: arrived.append(message)
        )
        while not arrived:
            producer.poll(0.01)
        arrived.clear()

    publish(0)
    start = time.perf_counter()
    for number in range(jobs):
        publish(number)
    return jobs / (time.perf_counter() - start)


def _ours(settings: ProducerSettings, jobs: int) -> float:
    with backlog.producer(settings.bootstrap_servers, settings.namespace) as producer:
        producer.publish(backlog.payload(0), queue=QUEUE).result()
        start = time.perf_counter()
        for number in range(jobs):
            producer.publish(backlog.payload(number), key=_KEYS[number % len(_KEYS)], queue=QUEUE).result()
        return jobs / (time.perf_counter() - start)


async def _at_once(settings: ProducerSettings, jobs: int) -> float:
    async with AsyncJobProducer(settings) as producer:
        await (await producer.publish(backlog.payload(0), queue=QUEUE))
        numbers = count()

        async def publish() -> None:
            while (number := next(numbers)) < jobs:
                await (await producer.publish(backlog.payload(number), key=_KEYS[number % len(_KEYS)], queue=QUEUE))

        start = time.perf_counter()
        await asyncio.gather(*(publish() for _ in range(WIDTH)))
        return jobs / (time.perf_counter() - start)
