"""Half an hour in which every tenth run fails, of jobs that never succeed, and jobs of healthy keys flow on.

Each ill job has a key of its own, and is tried again for ever. Memory must stay what it is, and so must the throughput.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.benchmarks import backlog
from tests.benchmarks.contenders import START_SECONDS, Running, note, running, worker
from tests.benchmarks.figures import Figure, Goal, Scale, shares
from tests.benchmarks.memory import resident
from tests.benchmarks.names import ILL_KEY

QUEUE = "soaking"
PARTITIONS = 4
MINUTES = 30
#: Each runs again every 10 s (jobs.py): 3,000 failures a second, beside some ten times as many healthy jobs.
ILL = 30_000
HEALTHY_KEYS = 10_000
#: How many jobs the publisher is ahead of the worker.
AHEAD = 100_000
_SAMPLES = 60  # a minute


@dataclass(frozen=True)
class Minute:
    """What was seen of a worker in one minute."""

    healthy: float  # jobs a second
    failed: float  # runs a second
    memory: float  # MB at the end of it


@dataclass
class _Progress:
    """How far the worker is, as it tells about once a second."""

    at: int = 0
    done: int = 0
    failed: int = 0
    room: threading.Condition = field(default_factory=threading.Condition)

    def note(self, report: dict[str, int]) -> None:
        with self.room:
            self.at, self.done, self.failed = report["at"], report["done"], report["failed"]
            self.room.notify_all()

    def room_after(self, published: int) -> int:
        """Wait until there is room for more, a second at the most. Returns how many may be published in all."""
        with self.room:
            self.room.wait_for(lambda: published < self.done + AHEAD, timeout=1)
            return self.done + AHEAD


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure once, however many runs are asked for: one takes half an hour."""
    minutes = _minutes(bootstrap, scale)
    first, rest = minutes[0], minutes[1:]
    healthy, memory = [minute.healthy for minute in rest], [minute.memory for minute in minutes]
    failed = sum(minute.failed for minute in rest)
    return [
        Figure("soak, healthy jobs in the first minute", "jobs/s", [first.healthy]),
        _to_first("healthy jobs in the slowest minute", min(healthy), first.healthy, Goal(">=", 80)),
        _to_first("healthy jobs in the last minute", healthy[-1], first.healthy, Goal(">=", 80)),
        Figure("soak, share of the runs that failed", "%", [100 * failed / (failed + sum(healthy))]),
        Figure("soak, memory after the first minute", "MB", memory[:1]),
        _to_first("memory at the end", memory[-1], memory[0], Goal("<=", 105)),
    ]


def _to_first(name: str, value: float, first: float, goal: Goal) -> Figure:
    return Figure(f"soak, {name}, to the first", "%", shares([value], [first]), goal)


def _minutes(bootstrap: str, scale: Scale) -> list[Minute]:
    with backlog.queue(bootstrap, QUEUE, PARTITIONS) as namespace:
        _publish_ill(bootstrap, namespace, scale.jobs(ILL))
        with running(worker("soak", bootstrap, namespace), 0) as started:
            progress = _Progress()
            with _published(bootstrap, namespace, progress):
                progress.note(started.report(START_SECONDS))
                return [_minute(started, progress, number) for number in range(1, scale.jobs(MINUTES) + 1)]


def _minute(started: Running, progress: _Progress, number: int) -> Minute:
    at, done, failed = progress.at, progress.done, progress.failed
    for _ in range(_SAMPLES):
        progress.note(started.report(START_SECONDS))
    seconds = (progress.at - at) / 1e9
    minute = Minute((progress.done - done) / seconds, (progress.failed - failed) / seconds, resident(started.pid))
    note(
        f"soak, minute {number}: {minute.healthy:,.0f} healthy jobs/s, {minute.failed:,.0f} failures/s,"
        f" {minute.memory:.0f} MB"
    )
    return minute


def _publish_ill(bootstrap: str, namespace: str, jobs: int) -> None:
    with backlog.producer(bootstrap, namespace) as publisher:
        for number in range(jobs):
            publisher.publish(backlog.payload(number), key=f"{ILL_KEY}-{number}", queue=QUEUE)


@contextmanager
def _published(bootstrap: str, namespace: str, progress: _Progress) -> Iterator[None]:
    """Jobs of healthy keys, always some ahead of the worker, until the end of the block."""
    over = threading.Event()

    def work() -> None:
        keys = [f"key-{number}" for number in range(HEALTHY_KEYS)]
        published = 0
        with backlog.producer(bootstrap, namespace) as publisher:
            while not over.is_set():
                most = progress.room_after(published)
                for number in range(published, most):
                    publisher.publish(backlog.payload(number), key=keys[number % HEALTHY_KEYS], queue=QUEUE)
                published = max(published, most)

    publisher = threading.Thread(target=work, name="publisher")
    publisher.start()
    try:
        yield
    finally:
        over.set()
        publisher.join()
