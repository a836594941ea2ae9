"""A flood of records that are no jobs: how soon they are dead letters, and how long the jobs of another queue of the
same worker wait meanwhile."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks import latency
from tests.benchmarks.contenders import note
from tests.benchmarks.figures import Figure, Goal, Scale, shares
from tests.hostile_records import hostile_records, publish_hostile
from tests.topics import count

_NAME = "jobs beside a flood of hostile records, p99"
RECORDS = 100_000
#: Jobs of the other queue: enough for a 99th percentile, and for as long as the flood takes.
JOBS, RATE = 3_000, 100.0
#: How long the flood may take, and how often to look: each look costs the broker something. Seconds.
_WITHIN, _LOOK_EVERY = 240.0, 0.25


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure the neighbours without and with the flood, in turn, and what becomes of it."""
    quiet, flooded, rates = [], [], []
    for number in range(1, scale.runs + 1):
        quiet.append(latency.percentiles(latency.waits(bootstrap, scale.jobs(JOBS), rate=RATE))[1])
        flood = _Flood(bootstrap, scale.jobs(RECORDS))
        waits = latency.waits(bootstrap, scale.jobs(JOBS), rate=RATE, beside=flood.running)
        flooded.append(latency.percentiles(waits[: int(flood.seconds * RATE)])[1])
        rates.append(flood.rate)
        note(f"hostile, run {number}: p99 {quiet[-1]:.2f} ms without, {flooded[-1]:.2f} ms with; {rates[-1]:,.0f}/s")
    return [
        Figure("hostile records that become dead letters", "records/s", rates),
        Figure(_NAME, "ms", flooded),
        Figure(f"{_NAME}, to none", "times", shares(flooded, quiet, 1), Goal("<=", 2)),
    ]


class _Flood:
    """Hostile records for a queue of the measured worker, and the time until each of them is a dead letter."""

    def __init__(self, bootstrap: str, records: int) -> None:
        self._bootstrap = bootstrap
        self._records = records
        self._began = 0.0
        #: How long its records took to become dead letters, all but those that became ones while others were published.
        self.seconds = 0.0
        self.rate = 0.0

    @contextmanager
    def running(self, namespace: str) -> Iterator[None]:
        """Flood the queue, which takes this process a moment, before the block; its end waits for the last of them."""
        topic = f"{namespace}.noop"
        records = list(hostile_records(random.Random(3), self._records))
        self._began = time.monotonic()
        publish_hostile(self._bootstrap, topic, records)
        thread = threading.Thread(target=self._await_letters, args=(topic, time.monotonic()))
        thread.start()
        try:
            yield
        finally:
            thread.join()
        assert self.rate, "the flood has not become dead letters"

    def _await_letters(self, topic: str, published: float) -> None:
        pause = threading.Event()
        while count(self._bootstrap, f"{topic}.dead") < self._records:
            if time.monotonic() > published + _WITHIN:
                return
            pause.wait(_LOOK_EVERY)
        now = time.monotonic()
        self.seconds, self.rate = now - published, self._records / (now - self._began)
