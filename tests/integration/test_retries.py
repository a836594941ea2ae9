"""Failing jobs on the real broker: they come back, keep the order of their key, and survive restarts and kills."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.integration.conftest import Fleet
from tests.jobs.failing import POLICY
from tests.ledger import SECOND, Run
from tests.ledger_rules import inversions, lost, overlaps
from tests.publishing import Steps
from tests.topics import count, read_all
from tests.waiting import until


def test_a_failing_job_holds_back_its_key_and_no_other(
    fleet: Fleet, kafka: str, namespace: str, show: Callable[[str], None]
) -> None:
    workers = fleet("tests.jobs.failing")
    (worker,) = workers.start()
    with Steps(kafka, namespace) as steps:
        first = steps.publish("a", 0, queue="failing", fails=2)
        behind = {steps.publish("a", 0, queue="failing") for _ in range(20)}
        others = {steps.publish(f"other-{number}", 0, queue="failing") for number in range(20)}
    workers.await_done(steps.ids, within=30)
    runs = workers.ledger.runs()
    assert not inversions(runs)
    assert Counter(run.job for run in runs) == Counter({first: 3, **dict.fromkeys(behind | others, 1)})
    again = [run for run in runs if run.job == first]
    assert max(run.start for run in runs if run.job in others) < again[1].start, "other keys do not wait"
    for wait, earlier, later in zip((0.3, 0.6), again, again[1:], strict=False):
        late = (later.start - (earlier.end or 0)) / SECOND - wait
        show(f"retry after {wait} s: {late * 1000:.0f} ms late")
        assert late > -0.002, "never early"
    workers.stop()
    assert worker.count("retry failing") == 2


def test_given_up_jobs_are_dead_letters_and_their_key_goes_on(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.failing")
    workers.start()
    with Steps(kafka, namespace) as steps:
        hopeless = steps.publish("a", 0, queue="failing", fails=99)
        after = steps.publish("a", 0, queue="failing")
        permanent = steps.publish("b", 0, queue="failing", fails=-1)
        after_permanent = steps.publish("b", 0, queue="failing")
    workers.await_done({after, after_permanent}, within=30)
    workers.stop()
    letters = {letter.header("ce_id"): letter for letter in read_all(kafka, f"{namespace}.failing.dead")}
    assert letters.keys() == {hopeless, permanent}
    assert letters[hopeless].header("job-attempt") == str(POLICY.max_attempts)
    assert "gave up after 5 attempts" in (letters[hopeless].header("job-error-message") or "")
    assert letters[hopeless].header("job-origin").startswith(f"{namespace}.failing/")  # type: ignore[union-attr]
    assert letters[permanent].header("job-attempt") == "1"
    runs = workers.ledger.runs()
    assert Counter(run.job for run in runs) == Counter({hopeless: 5, after: 1, permanent: 1, after_permanent: 1})
    assert _last(runs, hopeless).end < _last(runs, after).start  # type: ignore[operator]


def test_parked_jobs_survive_a_restart_and_a_kill(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.failing")
    (worker,) = workers.start()
    keys = [f"key-{number}" for number in range(30)]
    with Steps(kafka, namespace) as steps:
        failing = {steps.publish(key, 0, queue="failing", fails=3) for key in keys}
        for _ in range(10):
            for key in keys:
                steps.publish(key, 0, queue="failing")
        until(lambda: failing <= workers.ledger.started, within=30, what="all keys failed once")
        worker.stop()
        other = workers.launch()
        until(lambda: len(_runs_of(workers.ledger.runs(), failing)) > 2 * len(keys), within=30, what="second attempts")
        workers.kill(other)
        for key in keys:
            steps.publish(key, 0, queue="failing")
        workers.launch()
    workers.await_done(steps.ids, within=60)
    runs = workers.ledger.runs()
    assert not lost(steps.ids, runs)
    assert not inversions(runs)
    assert not overlaps(runs, workers.kills)
    attempts = Counter(run.job for run in _runs_of(runs, failing))
    # What ran at the kill, or had ended without its commit, runs again; nothing else does.
    assert all(4 <= attempts[job] <= 5 for job in failing), attempts
    workers.stop()
    assert count(kafka, f"{namespace}.failing.dead") == 0


def test_without_an_order_nothing_waits_behind_a_failure(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.failing")
    workers.start()
    with Steps(kafka, namespace) as steps:
        first = steps.publish("a", 0, queue="loose", fails=2)
        behind = {steps.publish("a", 0, queue="loose") for _ in range(20)}
    workers.await_done(steps.ids, within=30)
    runs = workers.ledger.runs()
    assert Counter(run.job for run in runs) == Counter({first: 3, **dict.fromkeys(behind, 1)})
    assert max(run.start for run in runs if run.job in behind) < _last(runs, first).start
    workers.stop()


def _last(runs: list[Run], job: str) -> Run:
    return [run for run in runs if run.job == job][-1]


def _runs_of(runs: list[Run], jobs: set[str]) -> list[Run]:
    return [run for run in runs if run.job in jobs]
