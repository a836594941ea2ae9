"""From the start of a worker's process to its first job, on a broker that is up and has the job."""

from __future__ import annotations

import time

from tests.benchmarks import backlog
from tests.benchmarks.contenders import START_SECONDS, note, running, worker
from tests.benchmarks.figures import Figure, Goal, Scale
from tests.benchmarks.noop import PARTITIONS


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure one worker after the other, each in a pool of its own; the first warms the machine up."""
    with backlog.queue(bootstrap, "noop", PARTITIONS) as namespace:
        backlog.publish(bootstrap, namespace, "noop", 1)
        seconds = [_start(bootstrap, namespace, number) for number in range(scale.runs + 1)][1:]
    return [Figure("start of a worker to its first job", "s", seconds, Goal("<=", 3))]


def _start(bootstrap: str, namespace: str, number: int) -> float:
    began = time.monotonic()
    with running(worker("our worker", bootstrap, namespace), 1) as started:
        first: float = started.report(START_SECONDS)["at"] / 1e9
    note(f"start, run {number}: {first - began:.2f} s")
    return first - began
