"""From publish to the handler's start: at few jobs a second, at a thousand, and at half of what a worker can do.

BullMQ is beside it at the first two.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import quantiles

from producers import JobProducer
from tests.benchmarks import backlog
from tests.benchmarks.bullmq import bullmq
from tests.benchmarks.contenders import START_SECONDS, note, running, worker
from tests.benchmarks.figures import Figure, Goal, Scale, shares
from tests.benchmarks.names import FAILING_KEY

RATE = 100.0
WARM_UP_SECONDS = 3.0  # in which the broker, too, gets up to speed
PARTITIONS = 4


@dataclass(frozen=True)
class _Case:
    """So many jobs at a rate; the 99th percentile may be so many ms, or the percentiles so many times BullMQ's."""

    jobs: int
    rate: float
    p99: Goal | None = None
    of_bullmq: tuple[Goal, Goal] | None = None
    beside_bullmq: bool = True


_CASES = (
    _Case(1_000, 50.0, of_bullmq=(Goal("<=", 1.25), Goal("<=", 1.5))),
    _Case(10_000, 1_000.0, p99=Goal("<", 25)),
    _Case(100_000, 15_000.0, p99=Goal("<", 50), beside_bullmq=False),
)


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure the median and the 99th percentile of each case."""
    return [figure for case in _CASES for figure in _figures(bootstrap, scale, case)]


def _figures(bootstrap: str, scale: Scale, case: _Case) -> list[Figure]:
    ours, other = [], []
    jobs = scale.jobs(case.jobs)
    for number in range(1, scale.runs + 1):
        ours.append(_percentiles(f"run {number}", case.rate, waits(bootstrap, jobs, rate=case.rate)))
        found = _waits_of_bullmq(jobs, case.rate) if case.beside_bullmq else []
        if found:
            other.append(_percentiles(f"BullMQ, run {number}", case.rate, found))
    name = f"publish to start, {case.rate:,.0f} jobs/s"
    p50s, p99s = zip(*ours, strict=True)
    figures = [Figure(f"{name}, p50", "ms", p50s), Figure(f"{name}, p99", "ms", p99s, case.p99)]
    if other:
        of_p50, of_p99 = zip(*other, strict=True)
        goals = case.of_bullmq or (None, None)
        figures += [
            Figure(f"{name}, BullMQ, p50", "ms", of_p50),
            Figure(f"{name}, BullMQ, p99", "ms", of_p99),
            Figure(f"{name}, p50, to BullMQ", "times", shares(p50s, of_p50, 1), goals[0]),
            Figure(f"{name}, p99, to BullMQ", "times", shares(p99s, of_p99, 1), goals[1]),
        ]
    return figures


def _percentiles(name: str, rate: float, waited: Sequence[float]) -> tuple[float, float]:
    p50, p99 = percentiles(waited)
    note(f"latency at {rate:,.0f} jobs/s, {name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, longest {max(waited):.2f} ms")
    return p50, p99


def _waits_of_bullmq(jobs: int, rate: float) -> list[float]:
    """As `waits`, of BullMQ; nothing where there is none."""
    warm_up = int(WARM_UP_SECONDS * rate)
    with bullmq() as other:
        if other is None:
            return []
        with (
            running(other.worker(timed=True), warm_up + jobs) as started,
            running(other.publisher("paced", rate), warm_up + jobs) as publisher,
        ):
            publisher.drain(jobs)
            waited = started.drain_with(warm_up + jobs)
    return [wait / 1e6 for wait in waited[warm_up:]]


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
