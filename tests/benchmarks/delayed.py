"""Delayed jobs: their publishing, what a million of them cost a worker, how fast they go, and how punctual they are."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from producers.routing.key_placement import partition_of
from tests.benchmarks import backlog
from tests.benchmarks.contenders import START_SECONDS, note, running, worker
from tests.benchmarks.figures import Figure, Goal, Scale, shares
from tests.benchmarks.latency import paced, percentiles
from tests.benchmarks.memory import resident
from tests.benchmarks.noop import PARTITIONS

PUBLISHED = 100_000
HELD = 1_000_000
AT_ONCE = 200_000
PUNCTUAL = 500
RATE = 25.0
#: Partitions of the topic where they wait, each of which has to be loaded.
_WAITING_PARTITIONS = 4
_FAR = timedelta(days=365)


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure each in its turn, on topics of its own."""
    return [
        *_publishing(bootstrap, scale),
        *_held(bootstrap, scale),
        *_at_once(bootstrap, scale),
        *_punctual(bootstrap, scale),
    ]


def _publishing(bootstrap: str, scale: Scale) -> list[Figure]:
    jobs = scale.jobs(PUBLISHED)
    rates: dict[bool, list[float]] = {False: [], True: []}
    with backlog.queue(bootstrap, "noop", PARTITIONS) as namespace:
        _start_once(bootstrap, namespace)
        for delayed in [False, True] * (scale.runs + 1):  # The first round warms up.
            began = time.monotonic()
            with backlog.producer(bootstrap, namespace) as publisher:
                for number in range(jobs):
                    publisher.publish(backlog.payload(number), queue="noop", delay=_FAR if delayed else None)
            rates[delayed].append(jobs / (time.monotonic() - began))
    usual, late = rates[False][1:], rates[True][1:]
    note(f"publishing: {usual[-1]:,.0f} jobs/s, delayed {late[-1]:,.0f}")
    return [
        Figure("publishing delayed jobs", "jobs/s", late),
        Figure("publishing delayed jobs, to others", "%", shares(late, usual, 100), Goal(">=", 60)),
    ]


def _held(bootstrap: str, scale: Scale) -> list[Figure]:
    """A worker that starts with many of them waiting: its memory, and when it fires what is due."""
    jobs = scale.jobs(HELD)
    memory, ready = [], []
    with backlog.queue(bootstrap, "noop", PARTITIONS) as namespace:
        _start_once(bootstrap, namespace)
        few = _ready(bootstrap, namespace, "none waiting")
        with backlog.producer(bootstrap, namespace) as publisher:
            for number in range(jobs):
                publisher.publish(backlog.payload(number), queue="noop", delay=_FAR)
        for number in range(1, scale.runs + 1):
            seconds, megabytes = _ready(bootstrap, namespace, f"{jobs:,} waiting, run {number}")
            memory.append(megabytes - few[1])
            ready.append(seconds)
    return [
        Figure(f"delayed jobs, memory of {jobs:,} that wait", "MB", memory, Goal("<=", 150)),
        Figure(f"delayed jobs, from a worker's start until it fires, {jobs:,} waiting", "s", ready, Goal("<=", 30)),
    ]


def _ready(bootstrap: str, namespace: str, what: str) -> tuple[float, float]:
    """Seconds until a new worker has fired a job that is due in each partition, and its memory then."""
    with backlog.producer(bootstrap, namespace) as publisher:
        for partition in range(_WAITING_PARTITIONS):
            names = (f"{what} {number}" for number in range(1_000))
            name = next(name for name in names if partition_of(name.encode(), _WAITING_PARTITIONS) == partition)
            publisher.publish(backlog.payload(partition), queue="noop", id=name, delay=0)
    began = time.monotonic()
    # In its group from before it reads nothing that has run.
    with running(worker("our worker", bootstrap, namespace, STREAMS_POOL=_POOL), _WAITING_PARTITIONS) as started:
        started.report(START_SECONDS)
        last = started.report(START_SECONDS)["at"] / 1e9
        megabytes = resident(started.pid)
    note(f"delayed, {what}: fires after {last - began:.1f} s, {megabytes:.0f} MB")
    return last - began, megabytes


_POOL = "default"


def _start_once(bootstrap: str, namespace: str) -> None:
    """Have a worker make the topics, and commit."""
    backlog.publish(bootstrap, namespace, "noop", 1)
    with running(worker("our worker", bootstrap, namespace, STREAMS_POOL=_POOL), 1) as started:
        started.report(START_SECONDS)


def _at_once(bootstrap: str, scale: Scale) -> list[Figure]:
    """All due at one moment, on a worker that runs them too."""
    jobs, rates = scale.jobs(AT_ONCE), []
    for number in range(1, scale.runs + 1):
        with backlog.queue(bootstrap, "noop", PARTITIONS) as namespace:
            _start_once(bootstrap, namespace)
            with running(worker("our worker", bootstrap, namespace, STREAMS_POOL=_POOL), jobs) as started:
                due = datetime.now(UTC) + timedelta(seconds=15)
                with backlog.producer(bootstrap, namespace) as publisher:
                    for each in range(jobs):
                        publisher.publish(backlog.payload(each), queue="noop", run_at=due)
                note(f"delayed: published {(due - datetime.now(UTC)).total_seconds():.1f} s before they fall due")
                drained = started.drain(jobs)
            note(f"delayed, all at once, run {number}: {drained.rate:,.0f} jobs/s")
            rates.append(drained.rate)
    return [Figure("delayed jobs due at once, fired and run", "jobs/s", rates, Goal(">=", 20_000))]


def _punctual(bootstrap: str, scale: Scale) -> list[Figure]:
    """From the moment that a job falls due to its handler's start."""
    p50s, p99s = [], []
    for number in range(1, scale.runs + 1):
        with (
            backlog.queue(bootstrap, "punctual", PARTITIONS) as namespace,
            running(worker("our worker", bootstrap, namespace), PUNCTUAL + 1) as started,
            backlog.producer(bootstrap, namespace) as publisher,
        ):
            publisher.publish(backlog.payload(0), queue="punctual")
            started.report(START_SECONDS)

            def publish(each: int) -> None:
                publisher.publish(backlog.payload(each), queue="punctual", delay=0.5)

            paced(PUNCTUAL, RATE, publish)
            waits = [wait / 1e6 for wait in started.report(START_SECONDS)["waits_ns"]]
        p50, p99 = percentiles(waits)
        note(f"delayed, from due to start, run {number}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, first {min(waits):.1f} ms")
        p50s.append(p50)
        p99s.append(p99)
    return [
        Figure("delayed jobs, due to start, p50", "ms", p50s),
        Figure("delayed jobs, due to start, p99", "ms", p99s, Goal("<=", 50)),
    ]
