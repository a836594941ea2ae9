"""A worker's memory while it works off a short and a long backlog: it must not grow with the backlog."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.benchmarks import backlog
from tests.benchmarks.contenders import note, running, worker
from tests.benchmarks.figures import Figure, Goal, Scale
from tests.benchmarks.noop import PARTITIONS

SHORT, LONG = 10_000, 1_000_000
_INTERVAL = 0.02
_AFTER = 1.0  # seconds to go on looking once the last job has run
_MB = 1_000_000


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure the peak with both backlogs, in turn."""
    with (
        backlog.queue(bootstrap, "noop", PARTITIONS) as short,
        backlog.queue(bootstrap, "noop", PARTITIONS) as long,
    ):
        jobs = scale.jobs(LONG)
        backlog.publish(bootstrap, short, "noop", SHORT)
        backlog.publish(bootstrap, long, "noop", jobs)
        peaks = [
            (_peak(bootstrap, short, SHORT, number), _peak(bootstrap, long, jobs, number))
            for number in range(1, scale.runs + 1)
        ]
    return [
        Figure(f"memory of the worker, backlog of {SHORT:,}", "MB", [low for low, _ in peaks]),
        Figure(f"memory of the worker, backlog of {jobs:,}", "MB", [high for _, high in peaks]),
        Figure("memory that the long backlog adds", "MB", [high - low for low, high in peaks], Goal("<=", 50)),
    ]


def resident(pid: int) -> float:
    """The resident memory of a process, in MB."""
    return float(psutil.Process(pid).memory_info().rss) / _MB


def _peak(bootstrap: str, namespace: str, jobs: int, number: int) -> float:
    with running(worker("our worker", bootstrap, namespace), jobs) as started, _watched(started.pid) as samples:
        started.drain(jobs)
        threading.Event().wait(_AFTER)
    note(f"memory, run {number}, backlog of {jobs:,}: {max(samples):.0f} MB")
    return max(samples)


@contextmanager
def _watched(pid: int) -> Iterator[list[float]]:
    """The resident memory of a process, in MB, looked at again and again until the end of the block."""
    process = psutil.Process(pid)
    samples: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(_INTERVAL):
            samples.append(process.memory_info().rss / _MB)

    watcher = threading.Thread(target=look, name="memory")
    watcher.start()
    try:
        yield samples
    finally:
        over.set()
        watcher.join()
