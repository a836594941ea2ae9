"""Several queues, several workers: who gets what, and that nobody holds up anybody."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from tests.integration.conftest import Fleet
from tests.ledger import SECOND
from tests.publishing import Steps
from tests.topics import partitions
from tests.waiting import until
from tests.workers import Workers, describe

TRIO = ("first", "second", "third")


def test_queues_of_as_many_partitions_share_their_workers(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.sharing")
    workers.start(2)
    assigned = list(describe(kafka, workers.group).values())
    for queue in TRIO:
        spread = [{number for topic, number in mine if topic == f"{namespace}.{queue}"} for mine in assigned]
        assert [len(numbers) for numbers in spread] == [3, 3]
        assert set.union(*spread) == set(range(6))
    for mine in assigned:
        numbers = [{number for topic, number in mine if topic == f"{namespace}.{queue}"} for queue in TRIO]
        assert numbers[0] == numbers[1] == numbers[2]
    assert {topic for mine in assigned for topic, _ in mine} == {f"{namespace}.{queue}" for queue in (*TRIO, "heavy")}
    with Steps(kafka, namespace) as steps:
        for queue in TRIO:
            for number in range(60):
                steps.publish(f"key-{number}", 0.0, queue=queue)
    workers.await_done(steps.ids, within=30)
    runs = workers.ledger.runs()
    assert len({run.process for run in runs}) == 2
    for number in range(60):
        assert len({run.process for run in runs if run.key == f"key-{number}"}) == 1, "one worker a key"


def test_a_pool_serves_its_queues_only(fleet: Fleet, kafka: str, namespace: str) -> None:
    default, other = fleet("tests.jobs.sharing"), fleet("tests.jobs.sharing", pool="other")
    (mine,) = default.start()
    assert not partitions(kafka, f"{namespace}.elsewhere"), "a worker makes the topics of its own pool"
    (yours,) = other.start()
    with Steps(kafka, namespace) as steps:
        here = {steps.publish(None, 0.0, queue="first") for _ in range(50)}
        there = {steps.publish(None, 0.0, queue="elsewhere") for _ in range(50)}
    default.await_done(here, within=20)
    other.await_done(there, within=20)
    assert {run.process for run in default.ledger.runs()} == {mine.pid}
    assert {run.process for run in other.ledger.runs()} == {yours.pid}
    assert here == default.ledger.done
    assert there == other.ledger.done


def test_a_cpu_heavy_queue_does_not_delay_another(
    fleet: Fleet, kafka: str, namespace: str, show: Callable[[str], None]
) -> None:
    workers = fleet("tests.jobs.sharing", processes=2)
    workers.start()
    book = workers.ledger
    with Steps(kafka, namespace) as steps:
        # The first CPU-bound jobs start the processes.
        workers.await_done({steps.publish(None, 0.0, queue="heavy") for _ in range(8)}, within=30)
        alone = _delays(workers, steps)
        heavy = {steps.publish(None, 0.5, queue="heavy") for _ in range(24)}
        until(lambda: heavy & book.started, within=10, what="CPU-bound jobs run")
        beside = _delays(workers, steps)
        assert heavy - book.done, "the CPU-bound jobs ended too early for the test to say anything"
    medians = statistics.median(alone), statistics.median(beside)
    show(f"publish to end of 20 ms jobs, median {medians[0] * 1000:.1f} ms alone, {medians[1] * 1000:.1f} ms beside"
         f" CPU-bound ones of 500 ms; worst {max(alone) * 1000:.0f} and {max(beside) * 1000:.0f} ms")  # fmt: skip
    # What waits behind CPU-bound jobs does so for each job; a busy machine may hold up some.
    assert medians[1] < medians[0] + 0.05
    assert statistics.quantiles(beside, n=10)[-1] < 0.5


def _delays(workers: Workers, steps: Steps) -> list[float]:
    """Publish jobs of 20 ms one by one and return the seconds from the publishing of each to its end."""
    published = {}
    for _ in range(60):
        job = steps.publish(None, 0.02, queue="first")
        published[job] = time.monotonic_ns()
        workers.await_done({job}, within=10)
    return [((run.end or 0) - published[run.job]) / SECOND for run in workers.ledger.runs() if run.job in published]
