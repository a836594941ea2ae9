"""Jobs that kill their worker end as dead letters after three deaths, and take no innocent job with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.integration.conftest import Fleet
from tests.jobs.deadly import ENDS
from tests.publishing import Steps
from tests.topics import count, read_all
from tests.waiting import until
from tests.workers import Workers

KILLED = "streams.errors.KilledItsWorkers"


@pytest.mark.parametrize("end", [end.decode() for end in ENDS])
def test_a_job_that_kills_its_worker_is_a_dead_letter(
    fleet: Fleet, kafka: str, namespace: str, show: Callable[[str], None], end: str
) -> None:
    workers = fleet("tests.jobs.deadly")
    workers.start()
    with Steps(kafka, namespace) as steps:
        for number in range(200):
            steps.publish(f"key-{number % 40}", 0.01, queue="deadly")
        culprit = steps.publish("key-7", 0.01, queue="deadly", ends=end)
        for number in range(200):
            steps.publish(f"key-{number % 40}", 0.01, queue="deadly")
    innocent = steps.ids - {culprit}
    deaths = _run_until_done(workers, innocent, kafka, f"{namespace}.deadly.dead")
    workers.stop()
    (letter,) = read_all(kafka, f"{namespace}.deadly.dead")
    assert letter.header("ce_id") == culprit
    assert letter.header("job-error-type") == KILLED
    starts = Counter(run.job for run in workers.ledger.runs())
    show(f"{end}: {deaths} deaths, innocent jobs ran {max(starts[job] for job in innocent)} times at the most")
    assert starts[culprit] == deaths == 3


def test_several_of_them_among_innocent_jobs(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.deadly")
    workers.start()
    with Steps(kafka, namespace) as steps:
        culprits = {steps.publish(f"bad-{number}", 0, queue="deadly", ends="exit") for number in range(3)}
        for number in range(300):
            steps.publish(f"key-{number}", 0.01, queue="deadly")
    innocent = steps.ids - culprits
    _run_until_done(workers, innocent, kafka, f"{namespace}.deadly.dead", letters=3)
    workers.stop()
    assert {letter.header("ce_id") for letter in read_all(kafka, f"{namespace}.deadly.dead")} == culprits
    starts = Counter(run.job for run in workers.ledger.runs())
    assert all(starts[culprit] <= 3 for culprit in culprits), starts


def test_two_workers_of_which_one_dies_each_time(
    fleet: Fleet, kafka: str, namespace: str, show: Callable[[str], None]
) -> None:
    """The partitions move with every death, and again when the worker is back."""
    workers = fleet("tests.jobs.deadly")
    workers.start(2)
    with Steps(kafka, namespace) as steps:
        for number in range(400):
            steps.publish(f"key-{number % 60}", 0.01, queue="deadly")
            if number == 200:
                culprit = steps.publish("key-7", 0.01, queue="deadly", ends="exit")
    innocent = steps.ids - {culprit}
    deaths = _run_until_done(workers, innocent, kafka, f"{namespace}.deadly.dead", alive=2)
    # One that has only just been started does not handle signals yet.
    workers.await_settled()
    workers.stop()
    (letter,) = read_all(kafka, f"{namespace}.deadly.dead")
    assert letter.header("ce_id") == culprit
    assert letter.header("job-error-type") == KILLED
    starts = Counter(run.job for run in workers.ledger.runs())
    show(f"{deaths} deaths, innocent jobs ran {max(starts[job] for job in innocent)} times at the most")
    assert starts[culprit] <= 3
    assert deaths == starts[culprit]


def _run_until_done(
    workers: Workers, jobs: set[str], kafka: str, dead: str, *, letters: int = 1, alive: int = 1
) -> int:
    """Start a worker again whenever one has died, as its supervisor would; how often that was."""
    deaths = 0

    def over() -> bool:
        nonlocal deaths
        if len(workers.running) < alive:
            deaths += 1
            workers.launch()
        return jobs <= workers.ledger.done and count(kafka, dead) >= letters

    until(over, within=180, what=lambda: f"all done; {deaths} deaths\n{workers.tails()}")
    return deaths
