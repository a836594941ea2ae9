"""From publish to the handler's start, at 100 jobs a second."""

from __future__ import annotations

import threading
import time
from statistics import quantiles

from producers import JobProducer
from tests.benchmarks import backlog
from tests.benchmarks.contenders import START_SECONDS, note, running, worker
from tests.benchmarks.figures import Figure, Goal, Scale

JOBS = 2_000
RATE = 100.0
WARM_UP = 300  # three seconds, in which the broker, too, gets up to speed
PARTITIONS = 4


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure the median and the 99th percentile."""
    found = [_percentiles(bootstrap, scale.jobs(JOBS), number) for number in range(1, scale.runs + 1)]
    return [
        Figure("latency from publish to start, p50", "ms", [p50 for p50, _ in found]),
        Figure("latency from publish to start, p99", "ms", [p99 for _, p99 in found], Goal("<", 10)),
    ]


def _percentiles(bootstrap: str, jobs: int, number: int) -> tuple[float, float]:
    with backlog.queue(bootstrap, "latency", PARTITIONS) as namespace:
        waits = _waits(bootstrap, namespace, jobs)
    cuts = quantiles(waits, n=100)
    note(f"latency, run {number}: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms, longest {max(waits):.2f} ms")
    return cuts[49], cuts[98]


def _waits(bootstrap: str, namespace: str, jobs: int) -> list[float]:
    """Milliseconds that each job waited, in the order of their starts, without those of the warm-up."""
    early = 1 + WARM_UP
    with (
        running(worker("our worker", bootstrap, namespace), early + jobs) as started,
        backlog.producer(bootstrap, namespace) as publisher,
    ):
        _publish(publisher, 0)
        started.report(START_SECONDS)  # it runs jobs now
        _publish_paced(publisher, WARM_UP + jobs)
        waits: list[int] = started.report(START_SECONDS)["waits_ns"]
    return [wait / 1e6 for wait in waits[early:]]


def _publish_paced(publisher: JobProducer, jobs: int) -> None:
    pause = threading.Event()
    began = time.monotonic()
    for number in range(jobs):
        pause.wait(max(0.0, began + number / RATE - time.monotonic()))
        _publish(publisher, number)


def _publish(publisher: JobProducer, number: int) -> None:
    """Publish a job whose subject says when."""
    publisher.publish(backlog.payload(time.monotonic_ns()), key=f"key-{number}", queue="latency")
