"""Jobs that fail once: what they cost the throughput of a backlog, and the jobs of other keys at a moderate rate."""

from __future__ import annotations

from tests.benchmarks import backlog, latency
from tests.benchmarks.contenders import Drained, measure, note, worker
from tests.benchmarks.figures import Figure, Goal, Scale, shares
from tests.benchmarks.names import FAILING_PERCENT
from tests.benchmarks.noop import PARTITIONS, of_bullmq

BACKLOG = 300_000
PERCENTS = (0, 1, 10, 50)
#: So many that a key is rarely parked when its next job is read.
MANY_KEYS = 30_000
#: So few that most keys are parked most of the time, and most jobs wait behind others in the retry topic.
FEW_KEYS = 1_000
BULLMQ_JOBS = 60_000
LATENCY_JOBS, LATENCY_RATE = 10_000, 1_000.0
_GOALS = {1: Goal(">=", 90), 10: Goal(">=", 70)}


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure the throughput at every share of failures, and the delay with and without them."""
    return [*_throughput(bootstrap, scale), *_delay(bootstrap, scale)]


def _throughput(bootstrap: str, scale: Scale) -> list[Figure]:
    many: dict[int, list[Drained]] = {percent: [] for percent in PERCENTS}
    few: list[Drained] = []
    without: list[Drained] = []
    other: list[Drained] = []
    for number in range(1, scale.runs + 1):
        note(f"failures, run {number} of {scale.runs}")
        for percent in PERCENTS:
            many[percent].append(_drain(bootstrap, scale, percent, MANY_KEYS))
        few.append(_drain(bootstrap, scale, 10, FEW_KEYS))
        without.append(_drain(bootstrap, scale, 10, 0))
        other += of_bullmq(scale.jobs(BULLMQ_JOBS), failing=10)
    rates = {percent: [run.rate for run in runs] for percent, runs in many.items()}
    figures = [Figure("no-op jobs, none failing, many keys", "jobs/s", rates[0])]
    for percent in PERCENTS[1:]:
        goal = _GOALS.get(percent)
        name = f"no-op jobs, {percent} % failing once, to none"
        figures.append(Figure(name, "%", shares(rates[percent], rates[0]), goal))
    figures.append(
        Figure("no-op jobs, 10 % failing once, few keys, to none", "%", shares([run.rate for run in few], rates[0]))
    )
    figures += _beside_bullmq(without, few, other)
    figures += [
        Figure(f"no-op jobs, {percent} % failing once, CPU of the worker", "µs/job", _cpu(runs))
        for percent, runs in many.items()
    ]
    return [*figures, Figure("no-op jobs, 10 % failing once, few keys, CPU of the worker", "µs/job", _cpu(few))]


def _beside_bullmq(without: list[Drained], few: list[Drained], other: list[Drained]) -> list[Figure]:
    figures = [Figure("no-op jobs, 10 % failing once, no keys", "jobs/s", [run.rate for run in without])]
    if other:
        rate = [run.rate for run in other]
        no_keys, few_keys = (shares([run.rate for run in ours], rate, 1) for ours in (without, few))
        figures += [
            Figure("no-op jobs, 10 % failing once, BullMQ", "jobs/s", rate),
            Figure("no-op jobs, 10 % failing once, no keys, to BullMQ", "times", no_keys, Goal(">=", 5)),
            Figure("no-op jobs, 10 % failing once, few keys in order, to BullMQ", "times", few_keys, Goal(">=", 2)),
        ]
    return figures


def _cpu(runs: list[Drained]) -> list[float]:
    return [run.cpu_microseconds for run in runs]


def _drain(bootstrap: str, scale: Scale, percent: int, keys: int) -> Drained:
    # Each has topics of its own: who joins with a new group reads all that the retry topic holds.
    jobs = scale.jobs(BACKLOG)
    with backlog.queue(bootstrap, "failing", PARTITIONS) as namespace:
        backlog.publish(bootstrap, namespace, "failing", jobs, keys=scale.jobs(keys))
        name = f"{percent} % failing, {scale.jobs(keys):,} keys"
        return measure(worker(name, bootstrap, namespace, **{FAILING_PERCENT: str(percent)}), jobs)


def _delay(bootstrap: str, scale: Scale) -> list[Figure]:
    found: dict[int, list[float]] = {percent: [] for percent in PERCENTS}
    for number in range(1, scale.runs + 1):
        for percent in PERCENTS:
            found[percent].append(_p99(bootstrap, scale, percent, number))
    figures = [Figure("delay of healthy keys, none failing, p99", "ms", found[0])]
    for percent in PERCENTS[1:]:
        goal = Goal("<=", 2) if percent == 10 else None
        name = f"delay of healthy keys, {percent} % of the jobs failing, p99"
        figures.append(Figure(name, "ms", found[percent]))
        figures.append(Figure(f"{name}, to none", "times", shares(found[percent], found[0], 1), goal))
    return figures


def _p99(bootstrap: str, scale: Scale, failing: int, number: int) -> float:
    waits = latency.waits(bootstrap, scale.jobs(LATENCY_JOBS), rate=LATENCY_RATE, failing=failing)
    p50, p99 = latency.percentiles(waits)
    note(f"delay, {failing} % failing, run {number}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, longest {max(waits):.2f} ms")
    return p99
