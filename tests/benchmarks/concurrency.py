"""Jobs that wait for 20 ms, on one partition: how many are under way at once, against the ideal and bare asyncio."""

from __future__ import annotations

from collections.abc import Callable

from tests.benchmarks import backlog
from tests.benchmarks.bare_asyncio import SLEEP_SECONDS
from tests.benchmarks.contenders import Contender, Drained, measure, note, python, worker
from tests.benchmarks.figures import Figure, Goal, Scale, shares

FEW, FEW_JOBS = 200, 60_000
MANY, MANY_JOBS = 1_000, 200_000
IDEAL = FEW / SLEEP_SECONDS


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure our worker at both concurrencies, and the asyncio program at the higher."""
    with backlog.queue(bootstrap, "sleep", 1) as namespace:
        backlog.publish(bootstrap, namespace, "sleep", scale.jobs(MANY_JOBS))

        def ours(concurrency: int) -> Contender:
            name = f"worker at concurrency {concurrency:,}"
            return worker(name, bootstrap, namespace, STREAMS_CONCURRENCY=str(concurrency))

        rounds = [_round(ours, scale, number) for number in range(1, scale.runs + 1)]
    few, many, bare = ([drained.rate for drained in runs] for runs in zip(*rounds, strict=True))
    return _figures(few, many, bare)


def _round(ours: Callable[[int], Contender], scale: Scale, number: int) -> tuple[Drained, Drained, Drained]:
    note(f"concurrency, run {number} of {scale.runs}")
    bare = python(f"bare asyncio, {MANY:,} tasks", "tests.benchmarks.bare_asyncio", str(MANY))
    many = scale.jobs(MANY_JOBS)
    return measure(ours(FEW), scale.jobs(FEW_JOBS)), measure(ours(MANY), many), measure(bare, many)


def _figures(few: list[float], many: list[float], bare: list[float]) -> list[Figure]:
    return [
        Figure("20 ms jobs, concurrency 200", "jobs/s", few),
        Figure("20 ms jobs, concurrency 200, of the ideal", "%", [100 * rate / IDEAL for rate in few], Goal(">=", 95)),
        Figure("20 ms jobs, concurrency 1,000", "jobs/s", many),
        Figure("20 ms sleeps, bare asyncio, 1,000 tasks", "jobs/s", bare),
        Figure("20 ms jobs, concurrency 1,000, of bare asyncio", "%", shares(many, bare), Goal(">=", 60)),
    ]
