"""A key whose first job keeps failing, with a hundred thousand jobs behind it: others go on, and it drains in order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from tests.benchmarks import backlog, latency
from tests.benchmarks.contenders import START_SECONDS, Contender, Running, note, running, worker
from tests.benchmarks.figures import Figure, Goal, Scale, shares
from tests.benchmarks.memory import resident
from tests.benchmarks.names import COUNTED, HEAL_KEY, HELLO_KEY, HOT_IS_ILL, HOT_KEY, TIMED_KEY, WAITS
from tests.waiting import until

QUEUE = "hot"
PILE = 100_000
OTHER_KEYS = 1_000
TIMED_JOBS, TIMED_RATE = 10_000, 1_000.0
_PARKING_SECONDS = 120.0


@dataclass(frozen=True)
class Found:
    """What was measured of a worker with a hot key, ill or healthy."""

    others: float  # jobs of other keys a second, in a backlog that they share with the hot key
    drain: float  # jobs of the hot key a second
    start: float  # seconds from the worker's start to its first job
    memory: float  # MB
    p99: float  # milliseconds from publish to start of other keys' jobs


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure a healthy hot key, and one that is parked and heals, in turn."""
    well, ill = [], []
    for number in range(1, scale.runs + 1):
        note(f"hot key, run {number} of {scale.runs}")
        well.append(_told("healthy", _well(bootstrap, scale)))
        ill.append(_told("parked", _ill(bootstrap, scale)))
    return _figures(well, ill, f"{scale.jobs(PILE):,}")


def _figures(well: list[Found], ill: list[Found], pile: str) -> list[Figure]:
    def both(field: str) -> tuple[list[float], list[float]]:
        return [getattr(found, field) for found in ill], [getattr(found, field) for found in well]

    return [
        Figure(f"hot key, others while {pile} of its jobs are parked, to none failing", "%", shares(*both("others"))),
        Figure(f"hot key, {pile} parked, p99 of others", "ms", both("p99")[0]),
        Figure(
            f"hot key, {pile} parked, p99 of others to none parked", "times", shares(*both("p99"), 1), Goal("<=", 2)
        ),
        Figure(f"hot key, {pile} parked, drained once healed", "jobs/s", both("drain")[0]),
        Figure("hot key, drained once healed, to a healthy key's", "%", shares(*both("drain")), Goal(">=", 25)),
        Figure("hot key, memory of an idle worker, none parked", "MB", both("memory")[1]),
        Figure(f"hot key, memory of a worker, {pile} parked", "MB", both("memory")[0]),
        Figure("hot key, start of a worker to its first job, none parked", "s", both("start")[1]),
        Figure(f"hot key, start of a worker to its first job, {pile} parked", "s", both("start")[0]),
    ]


def _told(name: str, found: Found) -> Found:
    note(
        f"  {name}: others {found.others:,.0f} jobs/s, p99 {found.p99:.1f} ms; drains {found.drain:,.0f} jobs/s;"
        f" {found.memory:.0f} MB; starts in {found.start:.1f} s"
    )
    return found


def _well(bootstrap: str, scale: Scale) -> Found:
    pile = scale.jobs(PILE)
    with backlog.queue(bootstrap, QUEUE, 1) as namespace, _started(bootstrap, namespace, scale) as (started, start):
        p99 = _timed(bootstrap, namespace, scale, started)
        memory = resident(started.pid)
    with backlog.queue(bootstrap, QUEUE, 1) as namespace:
        _publish_pile(bootstrap, namespace, pile, others=pile)
        others = _others(bootstrap, namespace, pile, ill=False)
    with backlog.queue(bootstrap, QUEUE, 1) as namespace:
        _publish_pile(bootstrap, namespace, pile, others=0)
        with running(_worker(bootstrap, namespace, counted=HOT_KEY), pile) as started:
            drain = started.drain(pile).rate
    return Found(others, drain, start, memory, p99)


def _ill(bootstrap: str, scale: Scale) -> Found:
    pile = scale.jobs(PILE)
    with backlog.queue(bootstrap, QUEUE, 1) as namespace:
        _publish_pile(bootstrap, namespace, pile, others=pile)
        others = _others(bootstrap, namespace, pile, ill=True)
        with _started(bootstrap, namespace, scale, ill=True) as (started, start):
            p99 = _timed(bootstrap, namespace, scale, started)
            memory = resident(started.pid)
            with backlog.producer(bootstrap, namespace) as publisher:
                publisher.publish(backlog.payload(0), key=HEAL_KEY, queue=QUEUE)
            drain = started.drain(pile).rate
    return Found(others, drain, start, memory, p99)


def _worker(bootstrap: str, namespace: str, *, counted: str = "", ill: bool = False, waits: int = 0) -> Contender:
    settings = {COUNTED: counted, HOT_IS_ILL: str(int(ill)), WAITS: str(waits), "STREAMS_POOL": "hot"}
    return worker(f"{'ill' if ill else 'healthy'} hot key", bootstrap, namespace, **settings)


def _others(bootstrap: str, namespace: str, jobs: int, *, ill: bool) -> float:
    """The rate of other keys' jobs; where the hot key is ill, its jobs are all parked at the end."""
    with running(_worker(bootstrap, namespace, ill=ill), jobs) as started:
        drained = started.drain(jobs)
        note(f"  others: {drained.rate:,.0f} jobs/s, {drained.cpu_microseconds:.1f} µs of CPU a job")
        if ill:
            until(lambda: _written(bootstrap, namespace) >= jobs, within=_PARKING_SECONDS, what="all jobs parked")
            note(f"  memory when all were parked: {resident(started.pid):.0f} MB")
    return drained.rate


@contextmanager
def _started(bootstrap: str, namespace: str, scale: Scale, *, ill: bool = False) -> Iterator[tuple[Running, float]]:
    """A worker that runs jobs, and how many seconds that took from its start."""
    pile = scale.jobs(PILE)
    with backlog.producer(bootstrap, namespace) as publisher:
        publisher.publish(backlog.payload(0), key=HELLO_KEY, queue=QUEUE)
    began = time.monotonic_ns()
    contender = _worker(bootstrap, namespace, counted=HOT_KEY, ill=ill, waits=_warm_up() + scale.jobs(TIMED_JOBS))
    with running(contender, pile) as started:
        yield started, (started.report(START_SECONDS)["at"] - began) / 1e9


def _timed(bootstrap: str, namespace: str, scale: Scale, started: Running) -> float:
    """Milliseconds from publish to start that 99 % of other keys' jobs stay below, at a moderate rate."""
    with backlog.producer(bootstrap, namespace) as publisher:

        def publish(number: int) -> None:
            payload = backlog.payload(time.monotonic_ns())
            publisher.publish(payload, key=f"{TIMED_KEY}-{number}", queue=QUEUE)

        latency.paced(_warm_up() + scale.jobs(TIMED_JOBS), TIMED_RATE, publish)
        waits = started.report(START_SECONDS)["waits_ns"]
    p50, p99 = latency.percentiles([wait / 1e6 for wait in waits[_warm_up() :]])
    note(f"  delay of others: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    return p99


def _warm_up() -> int:
    return int(latency.WARM_UP_SECONDS * TIMED_RATE)


def _publish_pile(bootstrap: str, namespace: str, pile: int, *, others: int) -> None:
    """Publish the jobs of the hot key, those of others among them."""
    note(f"publishing {pile:,} jobs of the hot key and {others:,} of others")
    keys = [f"key-{number}" for number in range(OTHER_KEYS)]
    with backlog.producer(bootstrap, namespace) as publisher:
        for number in range(pile):
            publisher.publish(backlog.payload(number), key=HOT_KEY, queue=QUEUE)
            if number < others:
                publisher.publish(backlog.payload(number), key=keys[number % OTHER_KEYS], queue=QUEUE)


def _written(bootstrap: str, namespace: str) -> int:
    """How many records the retry topic was given."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench"}, logger=None)
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(f"{namespace}.{QUEUE}.retry", 0), timeout=10)
    finally:
        consumer.close()
    return int(end)
