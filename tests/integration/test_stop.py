"""Stops at their worst: within a rebalance, and although handlers never end."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Fleet
from tests.jobs.ordered import RELEASE
from tests.ledger_rules import inversions, lost, overlaps, repeats
from tests.publishing import Steps
from tests.topics import count
from tests.unfinished import suspicious
from tests.waiting import until

REBALANCING = "because it is rebalancing"


def test_a_stop_within_a_rebalance(fleet: Fleet, kafka: str, namespace: str, tmp_path: Path) -> None:
    """The group waits for the worker, the worker for its jobs, and then it is told to stop: now it may wait longer."""
    release = tmp_path / "release"
    workers = fleet("tests.jobs.ordered", handover_timeout=2, environment={RELEASE: str(release)})
    (first,) = workers.start()
    book = workers.ledger
    with Steps(kafka, namespace) as steps:
        quick = {steps.publish(f"key-{number}", 0.0) for number in range(50)}
        running = {steps.publish(f"key-{number}", 60.0) for number in range(24)}
        waiting = {steps.publish(f"key-{number}", 0.01) for number in range(24)}
    until(lambda: running <= book.started and quick <= book.done, within=20, what="all slow jobs run")
    rebalances = first.count(REBALANCING)
    second = workers.launch()
    until(lambda: first.count(REBALANCING) > rebalances, within=30, what="the worker hears of the newcomer")
    first.terminate()
    until(lambda: first.count("jobs still run after 2 s"), within=10, what="the wait of the rebalance is over")
    release.touch()
    assert first.wait() == 0, first.tail()
    assert running <= book.done, "the stop waits for running jobs"
    workers.await_done(steps.ids, within=30)
    others = {run.process for run in book.runs() if run.job in waiting}
    assert others == {second.pid}, "the first starts nothing more"
    workers.stop()
    runs = book.runs()
    assert not repeats(runs)
    assert not lost(steps.ids, runs)
    assert not inversions(runs)
    assert not overlaps(runs)


def test_a_stop_while_the_group_waits_for_another(fleet: Fleet, kafka: str, namespace: str, tmp_path: Path) -> None:
    """It is told to stop before it knows what it will have: what finishes meanwhile is committed where it can be."""
    release = tmp_path / "release"
    workers = fleet("tests.jobs.ordered", environment={RELEASE: str(release)})
    first = workers.launch(handover_timeout=1)
    other = workers.launch(handover_timeout=40)
    workers.await_settled()
    book = workers.ledger
    steps = Steps(kafka, namespace)
    running = {steps.publish(f"key-{number}", 60.0) for number in range(48)}
    until(lambda: running <= book.started, within=20, what="all slow jobs run")
    mine = {run.job for run in book.runs() if run.process == first.pid}
    workers.launch()
    until(lambda: first.count("jobs still run after 1 s"), within=30, what="the worker waits for the group")
    first.terminate()
    until(lambda: first.count("jobs that run, "), within=30, what="it waits for its jobs, as it is to stop")
    release.touch()
    assert first.wait() == 0, first.tail()
    with steps:
        # What is behind them runs only when what runs again has ended.
        for number in range(48):
            steps.publish(f"key-{number}", 0.0)
    workers.await_done(steps.ids, within=60)
    workers.stop()
    runs = book.runs()
    assert other.pid in {run.process for run in runs}
    assert repeats(runs).keys() < mine, "only what ran for longer than the hand-over and moved may run again"
    assert not lost(steps.ids, runs)


def test_what_a_stop_cancels_runs_again_and_no_attempt_was_counted(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.failing", stop_timeout=1)
    (first,) = workers.start()
    book = workers.ledger
    with Steps(kafka, namespace) as steps:
        quick = {steps.publish(f"key-{number}", 0.0, queue="failing") for number in range(50)}
        workers.await_done(quick, within=20)
        long = steps.publish("long", 12.0, queue="failing")
        behind = steps.publish("long", 0.0, queue="failing")
        until(lambda: long in book.started, within=20, what="the job runs")
        first.stop()
        (cut,) = [run for run in book.runs() if run.job == long]
        assert cut.end is not None, "its handler was cancelled"
        assert not cut.done
        assert not cut.failed
        assert behind not in book.started, "what waits behind it is not let go by a stop"
        (second,) = workers.start()
        workers.await_done(steps.ids, within=60)
    workers.stop()
    runs = book.runs()
    assert repeats(runs).keys() == {long}
    assert [(run.process, run.attempt, run.done) for run in runs if run.job == long] == [
        (first.pid, 0, False),
        (second.pid, 0, True),
    ], "the policy had more attempts for it: none was counted"
    assert not inversions(runs)
    assert not overlaps(runs)
    assert count(kafka, f"{namespace}.failing.retry") == count(kafka, f"{namespace}.failing.dead") == 0


def test_a_second_signal_ends_it_at_once(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.ordered", stop_timeout=60, session_timeout=6)
    (first,) = workers.start()
    book = workers.ledger
    with Steps(kafka, namespace) as steps:
        quick = {steps.publish(f"key-{number}", 0.0) for number in range(20)}
        workers.await_done(quick, within=20)
        long = steps.publish("long", 20.0)
        until(lambda: long in book.started, within=20, what="the job runs")
        first.terminate()
        until(lambda: first.count("Signal received"), within=10, what="the stop has begun")

        def ended() -> bool:
            first.terminate()
            return not first.running

        until(ended, within=10, what="a second signal is heeded, long before the stop is over")
        assert first.exit_code == 128 + signal.SIGTERM
        assert "ending at once" in first.output
        workers.kills[first.pid] = time.monotonic_ns()
        workers.launch()
        until(lambda: long in repeats(book.runs()), within=30, what="what was running runs again")
    assert repeats(book.runs()).keys() == {long}


#: By what never ends: how its process does. Where Python itself waits for a thread there is no way but to break off.
EXIT_CODES = {"thread": 0, "executor": 1, "task": 0}


@pytest.mark.parametrize("where", EXIT_CODES)
def test_a_process_ends_although_a_handler_never_does(fleet: Fleet, kafka: str, namespace: str, where: str) -> None:
    workers = fleet("tests.jobs.stubborn", pool=where, stop_timeout=1)
    (worker,) = workers.start()
    with Steps(kafka, namespace) as steps:
        quick = {steps.publish(f"key-{number}", 0.0, queue=f"stubborn-{where}") for number in range(20)}
        workers.await_done(quick, within=20)
        endless = steps.publish("endless", 1.0, queue=f"stubborn-{where}")
        until(lambda: endless in workers.ledger.started, within=20, what="the job runs")
        worker.terminate()
        assert worker.wait(within=50) == EXIT_CODES[where], worker.tail()
        after = steps.publish("other", 0.0, queue=f"stubborn-{where}")
        workers.launch()
        workers.await_done({after}, within=30)
    until(lambda: endless in repeats(workers.ledger.runs()), within=20, what="the unfinished job runs again")
    assert repeats(workers.ledger.runs()).keys() == {endless}, "what had finished is committed, all the same"


def test_a_worker_that_is_killed_while_it_stops_is_killed_by_none_of_its_jobs(
    fleet: Fleet, kafka: str, namespace: str
) -> None:
    """As by a supervisor that waits no longer than its own patience."""
    workers = fleet("tests.jobs.ordered", session_timeout=6, stop_timeout=60)
    (first,) = workers.start()
    with Steps(kafka, namespace) as steps:
        job = steps.publish("a", 8.0)
        until(lambda: job in workers.ledger.started, within=20, what="the job has started")
        first.terminate()
        until(lambda: first.count("waiting for 1 jobs that run"), within=20, what="it says what it waits for")
        topic = f"{namespace}.ordered"
        until(lambda: not suspicious(kafka, workers.group, topic), within=20, what="the broker knows of the stop")
        workers.kill(first)
        second = workers.launch()
        workers.await_done({job}, within=60)
    assert second.count("a worker died that had") == 0
    workers.stop()


def test_a_worker_that_fails_to_stop_says_why_and_ends(fleet: Fleet, kafka: str, namespace: str) -> None:
    """Its consumer's thread would ask for a broker for ever, and nothing be done by its process any more."""
    workers = fleet("tests.jobs.unstoppable")
    (worker,) = workers.start()
    worker.terminate()
    assert worker.wait(within=40) == 1
    assert worker.count("the worker could not stop in order: what has not been committed runs again") == 1
    assert worker.count("OSError: the terminal is gone") == 1
    assert not worker.count("has held the event loop"), "there is no loop any more that a job could hold"


def test_a_worker_whose_directory_was_removed_stops_in_order(
    fleet: Fleet, kafka: str, namespace: str, tmp_path: Path
) -> None:
    """As where old releases are removed while their workers still run."""
    workers = fleet("tests.jobs.ordered")
    release = tmp_path / "release"
    release.mkdir()
    worker = workers.launch(within=release)
    workers.await_settled()
    release.rmdir()
    with Steps(kafka, namespace) as steps:
        running = steps.publish("key", 2.0)
        until(lambda: running in workers.ledger.started, within=20, what="the job runs")
        worker.stop()
    assert workers.ledger.done == steps.ids, "a stop waits for what runs"
