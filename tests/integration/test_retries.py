"""Failing jobs on the real broker: they come back, keep the order of their key, and survive restarts and kills."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from tests.integration.conftest import Fleet
from tests.jobs.failing import LATER_IN, POLICY, RETRY_IN, SNOOZE_IN
from tests.ledger import SECOND, Run
from tests.ledger_rules import inversions, lost, overlaps
from tests.publishing import Steps
from tests.topics import count, read_all
from tests.waiting import until

#: Seconds: a due time is a whole number of milliseconds.
EARLY = -0.002


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
    for earlier, later in pairwise(again):
        show(f"attempt {later.attempt}: {_lateness(earlier, later) * 1000:.0f} ms late")
        assert _lateness(earlier, later) > EARLY, "never early"
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
    workers = fleet("tests.jobs.failing", session_timeout=6)
    (worker,) = workers.start()
    keys = [f"key-{number}" for number in range(30)]
    book = workers.ledger
    with Steps(kafka, namespace) as steps:
        later = {steps.publish(f"later-{number}", 0, queue="failing", says="retry later") for number in range(6)}
        behind = {steps.publish(f"later-{number}", 0, queue="failing") for number in range(6)}
        until(lambda: later <= {run.job for run in book.runs() if run.failed}, within=30, what="those are parked")
        failing = {steps.publish(key, 0, queue="failing", fails=3) for key in keys}
        for _ in range(10):
            for key in keys:
                steps.publish(key, 0, queue="failing")
        until(lambda: failing <= book.started, within=30, what="all keys failed once")
        worker.stop()
        other = workers.launch()
        until(lambda: len(_runs_of(book.runs(), failing)) > 2 * len(keys), within=30, what="second attempts")
        workers.kill(other)
        for key in keys:
            steps.publish(key, 0, queue="failing")
        workers.start()
        taken_over = time.monotonic_ns()
    workers.await_done(steps.ids, within=60)
    runs = book.runs()
    assert not lost(steps.ids, runs)
    assert not inversions(runs)
    assert not overlaps(runs, workers.kills)
    attempts = Counter(run.job for run in _runs_of(runs, failing))
    # What ran at the kill, or had ended without its commit, runs again; nothing else does.
    assert all(4 <= attempts[job] <= 5 for job in failing), attempts
    for job in later:
        first, *again = _runs_of(runs, {job})
        assert [run.attempt for run in again] == [1]
        assert _lateness(first, again[0], LATER_IN) > EARLY, "due when it was before the restart and the kill"
        assert taken_over < again[0].start, "the last worker was too late for the test to say anything"
    assert not {run.job for run in runs if run.attempt} & behind
    for job in failing:
        mine = _runs_of(runs, {job})
        assert {run.attempt for run in mine} == {0, 1, 2, 3}, "attempts outlast both, too"
        assert not _early(mine)
    workers.stop()
    assert count(kafka, f"{namespace}.failing.dead") == 0


def test_failures_that_are_held_outlast_a_rebalance_and_a_stop(fleet: Fleet, kafka: str, namespace: str) -> None:
    """Nothing of them is in the retry topic before that; then it says how often they have failed, and when they run."""
    workers = fleet("tests.jobs.failing", retry_hold=60)
    (first,) = workers.start()
    book = workers.ledger
    with Steps(kafka, namespace) as steps:
        early = {steps.publish(f"early-{number}", 0, queue="failing", says="retry") for number in range(40)}
        workers.await_done(early, within=30)
        assert count(kafka, f"{namespace}.failing.retry") == 0
        failing = {steps.publish(f"key-{number}", 0, queue="failing", says="retry later") for number in range(40)}
        behind = {steps.publish(f"key-{number}", 0, queue="failing") for number in range(40)}
        until(lambda: failing <= {run.job for run in book.runs() if run.failed}, within=30, what="all have failed")
        assert count(kafka, f"{namespace}.failing.retry") == 0
        (second,) = workers.start()
        until(lambda: count(kafka, f"{namespace}.failing.retry") >= len(failing), within=30, what="they are written")
        first.stop()
        second.stop()
        assert not behind & book.done
        workers.start()
    workers.await_done(steps.ids, within=60)
    runs = book.runs()
    assert Counter((run.job, run.attempt) for run in runs) == Counter(
        [(job, attempt) for job in early | failing for attempt in (0, 1)] + [(job, 0) for job in behind]
    )
    assert not inversions(runs)
    for job in failing:
        earlier, later = _runs_of(runs, {job})
        assert _lateness(earlier, later, LATER_IN) > EARLY, "not before it is due"


def test_a_handler_says_when_its_job_comes_back(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.failing")
    workers.start()
    with Steps(kafka, namespace) as steps:
        snoozed = steps.publish("a", 0, queue="failing", says="snooze")
        between = steps.publish("a", 0, queue="failing")
        retried = steps.publish("a", 0, queue="failing", says="retry")
        behind = steps.publish("a", 0, queue="failing")
        other = steps.publish("b", 0, queue="failing")
    workers.await_done(steps.ids, within=30)
    workers.stop()
    runs = workers.ledger.runs()
    of_key = [(run.job, run.attempt, run.done) for run in runs if run.job != other]
    assert of_key == [
        (snoozed, 0, False),
        (snoozed, 0, True),
        (between, 0, True),
        (retried, 0, False),
        (retried, 1, True),
        (behind, 0, True),
    ], "a snooze counts no attempt, a retry does, and the key waits behind both"
    for job, wait in ((snoozed, SNOOZE_IN), (retried, RETRY_IN)):
        first, second = _runs_of(runs, {job})
        assert _lateness(first, second, wait) > EARLY, "not before its time"
    assert _last(runs, other).start < _last(runs, snoozed).start, "another key does not wait"
    assert count(kafka, f"{namespace}.failing.dead") == 0


def test_a_run_that_is_broken_off_is_tried_again(fleet: Fleet, kafka: str, namespace: str) -> None:
    """A timeout on the loop, one in a process, and a process that dies are failures like any other."""
    workers = fleet("tests.jobs.broken_off", processes=1)
    (worker,) = workers.start()
    with Steps(kafka, namespace) as steps:
        cancelled = steps.publish("a", 0, queue="broken-off-loop")
        killed = steps.publish("b", 0, queue="broken-off-process")
        crashed = steps.publish("c", 0, queue="broken-off-process", ends="exit")
    workers.await_done(steps.ids, within=60)
    workers.stop()
    runs = workers.ledger.runs()
    for job, error in ((cancelled, "JobTimeout"), (killed, "JobTimeout"), (crashed, "HandlerCrashed")):
        first, second = _runs_of(runs, {job})
        assert (first.attempt, second.attempt) == (0, 1)
        assert not first.done
        assert second.done
        assert worker.count(rf"retry broken-off-\w+ {job} .*{error}: .*attempts made: 1") == 1
    assert not [
        letter for queue in ("loop", "process") for letter in read_all(kafka, f"{namespace}.broken-off-{queue}.dead")
    ]


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


def _early(runs: list[Run]) -> list[tuple[Run, Run]]:
    """Runs that started before they were due, with that of the attempt before, wherever each of them ran.

    A run that was cut off from its commit is repeated as the same attempt: what counts is the one that failed first.
    """
    firsts: dict[int, Run] = {}
    for run in runs:
        if run.failed:
            firsts.setdefault(run.attempt, run)
    pairs = [(firsts[run.attempt - 1], run) for run in runs if run.attempt]
    return [(earlier, later) for earlier, later in pairs if _lateness(earlier, later) < EARLY]


def _lateness(earlier: Run, later: Run, wait: float | None = None) -> float:
    """Seconds between the time when a run was due and its start."""
    wait = POLICY.wait(later.attempt, random_share=1) if wait is None else wait
    assert earlier.end is not None
    return (later.start - earlier.end) / SECOND - wait


def _last(runs: list[Run], job: str) -> Run:
    return [run for run in runs if run.job == job][-1]


def _runs_of(runs: list[Run], jobs: set[str]) -> list[Run]:
    return [run for run in runs if run.job in jobs]
