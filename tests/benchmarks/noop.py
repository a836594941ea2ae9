"""No-op jobs of 200 bytes: our worker, a plain Faust agent and a bare loop on the same records, and BullMQ."""

from __future__ import annotations

from time import monotonic_ns

from tests.benchmarks import backlog
from tests.benchmarks.bullmq import bullmq
from tests.benchmarks.contenders import Contender, Drained, measure, note, python, worker
from tests.benchmarks.figures import Figure, Goal, Scale, shares
from tests.benchmarks.names import UNGUARDED

PARTITIONS = 4
BACKLOG = 300_000
# The agent's rate shows in the first of the records; all of them would take it half a minute.
AGENT_JOBS = 60_000
BULLMQ_JOBS, BULLMQ_BULK = 60_000, 1_000


def run(bootstrap: str, scale: Scale) -> list[Figure]:
    """Measure all of them in turn."""
    jobs = scale.jobs(BACKLOG)
    ours, unguarded, agent, loop, other = [], [], [], [], []
    with backlog.queue(bootstrap, "noop", PARTITIONS) as namespace:
        backlog.publish(bootstrap, namespace, "noop", jobs)
        for number in range(1, scale.runs + 1):
            note(f"noop, run {number} of {scale.runs}")
            ours.append(measure(worker("our worker", bootstrap, namespace), jobs))
            unguarded.append(measure(worker("unguarded worker", bootstrap, namespace, **{UNGUARDED: "1"}), jobs))
            agent.append(measure(_agent(bootstrap, namespace), scale.jobs(AGENT_JOBS)))
            loop.append(measure(_loop(bootstrap, namespace), jobs))
            other += of_bullmq(scale.jobs(BULLMQ_JOBS))
    return [*_figures(ours, agent, loop), *_beside_bullmq(ours, other), _cost_of_the_guard(ours, unguarded)]


def of_bullmq(jobs: int, *, failing: int = 0) -> list[Drained]:
    """How BullMQ's worker gets through a backlog, of which so many percent fail once; nothing where there is none."""
    with bullmq() as other:
        if other is None:
            return []
        measure(other.publisher("bulk", BULLMQ_BULK), jobs)
        return [measure(other.worker(failing=failing), jobs)]


def _beside_bullmq(ours: list[Drained], other: list[Drained]) -> list[Figure]:
    if not other:
        return []
    rate, of_other = ([run.rate for run in runs] for runs in (ours, other))
    return [
        Figure("no-op jobs, BullMQ", "jobs/s", of_other),
        Figure("no-op jobs, worker to BullMQ", "times", shares(rate, of_other, 1), Goal(">=", 6)),
    ]


def _cost_of_the_guard(ours: list[Drained], unguarded: list[Drained]) -> Figure:
    """The CPU that a job takes of the worker says more than its rate, which the broker shares in."""
    cpu, without = ([run.cpu_microseconds for run in runs] for runs in (ours, unguarded))
    name = "no-op jobs, CPU with the guard against jobs that kill their worker, to none"
    return Figure(name, "%", shares(cpu, without), Goal("<=", 105))


def _figures(ours: list[Drained], agent: list[Drained], loop: list[Drained]) -> list[Figure]:
    rate, of_agent, of_loop = ([run.rate for run in runs] for runs in (ours, agent, loop))
    return [
        Figure("no-op jobs, one worker", "jobs/s", rate),
        Figure("no-op jobs, plain Faust agent", "jobs/s", of_agent),
        Figure("no-op jobs, bare consume-and-decode loop", "jobs/s", of_loop),
        Figure("no-op jobs, CPU of the worker", "µs/job", [run.cpu_microseconds for run in ours]),
        Figure("no-op jobs, CPU of the plain agent", "µs/job", [run.cpu_microseconds for run in agent]),
        Figure("no-op jobs, CPU of the bare loop", "µs/job", [run.cpu_microseconds for run in loop]),
        Figure("no-op jobs, worker to plain agent", "times", shares(rate, of_agent, 1), Goal(">=", 8)),
        Figure("no-op jobs, worker to bare loop", "%", shares(rate, of_loop), Goal(">=", 80)),
    ]


def _agent(bootstrap: str, namespace: str) -> Contender:
    command = ("-A", "tests.benchmarks.plain_agent", "worker", "-l", "info")
    return python("plain Faust agent", "faust", *command, **_settings(bootstrap, namespace))


def _loop(bootstrap: str, namespace: str) -> Contender:
    return python("bare loop", "tests.benchmarks.bare_loop", **_settings(bootstrap, namespace))


def _settings(bootstrap: str, namespace: str) -> dict[str, str]:
    return {
        "PYTHONPATH": ".",
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "BENCH_GROUP": f"{namespace}.run-{monotonic_ns()}",
        "BENCH_TOPIC": f"{namespace}.noop",
    }
