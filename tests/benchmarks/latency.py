"""From publish to the handler's start, at 100 jobs a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from statistics import quantiles

from producers import JobProducer
from tests.benchmarks import backlog
from tests.benchmarks.contenders import START_SECONDS, note, running, worker
from tests.benchmarks.figures import Figure, Goal, Scale
from tests.benchmarks.names import FAILING_KEY

JOBS = 2_000
RATE = 100.0
WARM_UP_SECONDS = 3.0  # in which the broker, too, gets up to speed
PARTITIONS = 4


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure the median and the 99th percentile."""
    found = [_percentiles(bootstrap, scale.jobs(JOBS), number) for number in range(1, scale.runs + 1)]
    return [
        Figure("latency from publish to start, p50", "ms", [p50 for p50, _ in found]),
        Figure("latency from publish to start, p99", "ms", [p99 for _, p99 in found], Goal("<", 10)),
    ]


def _percentiles(bootstrap: str, jobs: int, number: int) -> tuple[float, float]:
    waited = waits(bootstrap, jobs)
    p50, p99 = percentiles(waited)
    note(f"latency, run {number}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, longest {max(waited):.2f} ms")
    return p50, p99


def percentiles(waited: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    cuts = quantiles(waited, n=100)
    return cuts[49], cuts[98]


Beside = Callable[[str], AbstractContextManager[object]]


def waits(
    bootstrap: str, jobs: int, *, rate: float = RATE, failing: int = 0, beside: Beside = nullcontext
) -> list[float]:
    """Milliseconds that each job waited, in the order of their starts, without those of the warm-up.

    failing  percent of the jobs, of keys of their own, that fail once; their waits are left out
    beside   what goes on in the worker's namespace while the jobs are published, warm-up apart
    """

    def key(number: int) -> str:
        ill = number >= warm_up and number * failing % 100 < failing
        return f"{FAILING_KEY}-{number}" if ill else f"key-{number}"

    warm_up = int(WARM_UP_SECONDS * rate)
    early = 1 + warm_up
    with (
        backlog.queue(bootstrap, "latency", PARTITIONS) as namespace,
        running(worker("our worker", bootstrap, namespace), early + jobs) as started,
        backlog.producer(bootstrap, namespace) as publisher,
    ):
        _publish(publisher, "first")
        started.report(START_SECONDS)  # it runs jobs now
        paced(warm_up, rate, lambda number: _publish(publisher, key(number)))
        with beside(namespace):
            paced(jobs, rate, lambda number: _publish(publisher, key(warm_up + number)))
        waits: list[int] = started.report(START_SECONDS)["waits_ns"]
    return [wait / 1e6 for wait in waits[early:]]


def paced(times: int, rate: float, act: Callable[[int], object]) -> None:
    """Call a function with 0, 1, 2 and so on, `rate` times a second."""
    pause = threading.Event()
    began = time.monotonic()
    for number in range(times):
        pause.wait(max(0.0, began + number / rate - time.monotonic()))
        act(number)


def _publish(publisher: JobProducer, key: str) -> None:
    """Publish a job whose subject says when."""
    publisher.publish(backlog.payload(time.monotonic_ns()), key=key, queue="latency")
