"""Retries that wait: how late they start on an idle machine, and what they and those behind them take of a worker."""

from __future__ import annotations

import time

from tests.benchmarks import backlog, latency
from tests.benchmarks.contenders import RUN_SECONDS, START_SECONDS, note, running, worker
from tests.benchmarks.figures import Figure, Goal, Scale
from tests.benchmarks.memory import resident
from tests.benchmarks.names import WAIT
from tests.topics import count, partitions
from tests.waiting import until

QUEUE = "waiting"
PARTITIONS = 24
FEW, FEW_RATE, FEW_WAIT = 1_000, 100.0, 1
#: As long as it takes to have all of them wait, and some.
MANY, MANY_WAIT = 100_000, 60
#: Jobs that wait behind another of their key, and how long that one does.
BEHIND, BEHIND_WAIT = 500_000, 600


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure few retries, and many at once."""
    few = [_few(bootstrap, scale, number) for number in range(1, scale.runs + 1)]
    many = [_many(bootstrap, scale, number) for number in range(1, scale.runs + 1)]
    behind = [_behind(bootstrap, scale, number) for number in range(1, scale.runs + 1)]
    so_many, so_many_behind = f"{scale.jobs(MANY):,}", f"{scale.jobs(BEHIND):,}"
    return [
        Figure("retries on an idle machine, earliest after its due time", "ms", [found[0] for found in few], _NEVER),
        Figure("retries on an idle machine, late, p99", "ms", [latency.percentiles(found)[1] for found in few]),
        Figure("retries on an idle machine, late, longest", "ms", [found[-1] for found in few], Goal("<=", 100)),
        Figure(f"{so_many} retries outstanding, memory of the worker", "MB", [memory for memory, _, _ in many]),
        Figure(f"{so_many} retries outstanding, memory before", "MB", [before for _, before, _ in many]),
        Figure(f"{so_many} retries outstanding, earliest after its due time", "ms", [f[0] for *_, f in many], _NEVER),
        Figure(f"{so_many_behind} jobs parked behind one key, memory of one", "bytes", behind, _SMALL),
    ]


_NEVER = Goal(">=", 0)
_SMALL = Goal("<=", 1024)


def _few(bootstrap: str, scale: Scale, number: int) -> list[float]:
    """Milliseconds that retries were late, in ascending order."""
    jobs = scale.jobs(FEW)
    with (
        backlog.queue(bootstrap, QUEUE, PARTITIONS) as namespace,
        running(worker("few retries", bootstrap, namespace, **{WAIT: str(FEW_WAIT)}), jobs) as started,
        backlog.producer(bootstrap, namespace) as publisher,
    ):
        latency.paced(jobs, FEW_RATE, lambda at: publisher.publish(backlog.payload(at), key=f"key-{at}", queue=QUEUE))
        late = _late(started.drain_with(jobs))
    note(f"few retries, run {number}: {late[0]:.2f} to {late[-1]:.1f} ms late")
    return late


def _many(bootstrap: str, scale: Scale, number: int) -> tuple[float, float, list[float]]:
    """MB of memory with all retries outstanding and before, and milliseconds that they were late then."""
    jobs = scale.jobs(MANY)
    with backlog.queue(bootstrap, QUEUE, PARTITIONS) as namespace:
        contender = worker("many retries", bootstrap, namespace, **{WAIT: str(MANY_WAIT)})
        with running(contender, jobs) as started, backlog.producer(bootstrap, namespace) as publisher:
            topic = f"{namespace}.{QUEUE}.retry"
            until(lambda: partitions(bootstrap, topic) == PARTITIONS, within=START_SECONDS, what="the worker's topics")
            before = resident(started.pid)
            began = time.monotonic()
            for at in range(jobs):
                publisher.publish(backlog.payload(at), key=f"key-{at}", queue=QUEUE)
            until(lambda: count(bootstrap, topic) == jobs, within=RUN_SECONDS, what="all jobs parked")
            parked = time.monotonic() - began
            memory = resident(started.pid)
            if parked >= MANY_WAIT:
                raise RuntimeError(f"it took {parked:.0f} s to have all jobs wait: make MANY_WAIT longer")
            late = _late(started.drain_with(jobs))
    p50, p99 = latency.percentiles(late)
    note(f"many retries, run {number}: {jobs:,} parked after {parked:.1f} s, {before:.0f} to {memory:.0f} MB;"
         f" late p50 {p50:.0f}, p99 {p99:.0f} ms")  # fmt: skip
    return memory, before, late


def _behind(bootstrap: str, scale: Scale, number: int) -> float:
    """Bytes of memory that each job takes where all wait for the first one, whose key they share.

    Of different keys a partition parks some ten thousand: a commit has to say which of them are done.
    """
    jobs = scale.jobs(BEHIND)
    settings = {
        WAIT: str(BEHIND_WAIT), "STREAMS_PARKED_JOBS": str(2 * jobs), "STREAMS_PARKED_BYTES": str(2048 * jobs),
    }  # fmt: skip
    with backlog.queue(bootstrap, QUEUE, 1) as namespace:
        topic = f"{namespace}.{QUEUE}.retry"
        with running(worker("parked jobs", bootstrap, namespace, **settings), jobs) as started:
            until(lambda: partitions(bootstrap, topic) == 1, within=START_SECONDS, what="the worker's topics")
            before = resident(started.pid)
            backlog.publish(bootstrap, namespace, QUEUE, jobs, keys=1)
            until(lambda: count(bootstrap, topic) == jobs, within=RUN_SECONDS, what="all jobs parked")
            memory = resident(started.pid)
    note(f"parked jobs, run {number}: {jobs:,}, {before:.0f} to {memory:.0f} MB")
    return (memory - before) * 1e6 / jobs


def _late(waits_ns: list[int]) -> list[float]:
    return sorted(wait / 1e6 for wait in waits_ns)
