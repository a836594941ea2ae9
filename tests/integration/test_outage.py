"""A broker that goes away under load and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from tests.brokers import Broker
from tests.integration.conftest import Fleet
from tests.ledger import SECOND
from tests.ledger_rules import inversions, lost, overlaps, repeats
from tests.publishing import Steps, load
from tests.waiting import until

OUTAGE_SECONDS = 20


def test_work_goes_on_after_an_outage(
    fleet: Fleet, own_broker: Broker, namespace: str, show: Callable[[str], None]
) -> None:
    workers = fleet("tests.jobs.ordered", bootstrap=own_broker.bootstrap)
    workers.start(2)
    book = workers.ledger
    with ExitStack() as publishing:
        steps = publishing.enter_context(Steps(own_broker.bootstrap, namespace))
        publishing.enter_context(load(lambda number: _publish(steps, number), rate=250))
        until(lambda: len(book.done) > 500, within=30, what="work is under way")
        down = time.monotonic_ns()
        own_broker.stop()
        # An outage is a length of time; there is no condition to wait for.
        time.sleep(OUTAGE_SECONDS)
        own_broker.start()
        up = time.monotonic_ns()
        until(lambda: any(run.start > up for run in book.runs()), within=60, what="work goes on")
        until(lambda: len(steps.ids - book.done) < 100, within=60, what="the backlog is worked off")
    workers.await_done(steps.ids, within=60)
    assert len(workers.running) == 2, "workers outlive an outage"
    workers.stop()
    runs = book.runs()
    resumed = (min(run.start for run in runs if run.start > up) - up) / SECOND
    show(f"{len(steps.ids):,} jobs, outage of {(up - down) / SECOND:.1f} s, work went on {resumed:.2f} s after it;"
         f" {len(repeats(runs))} jobs ran again")  # fmt: skip
    assert not lost(steps.ids, runs)
    assert not inversions(runs)
    assert not overlaps(runs)


def test_a_stop_without_a_broker(fleet: Fleet, own_broker: Broker, namespace: str) -> None:
    """It is bounded, it says what is true, and nothing but that."""
    workers = fleet("tests.jobs.ordered", bootstrap=own_broker.bootstrap, stop_timeout=2, session_timeout=30)
    (worker,) = workers.start()
    book = workers.ledger
    with Steps(own_broker.bootstrap, namespace) as steps:
        steps.publish("quick", 1.0)
        steps.publish("long", 60.0)
    until(lambda: steps.ids <= book.started, within=20, what="both jobs run")
    own_broker.stop()
    worker.terminate()
    # Two seconds for the jobs, ten for a commit, and what the machine takes; what is left of a stop's bounds is for
    # handlers that heed nothing.
    assert worker.wait() == 1, worker.tail()
    *_, last = worker.output.splitlines()
    assert "stopped, and the broker has not taken the last commit" in last
    assert not worker.count("what has finished is committed")
    assert not worker.count(r'Traceback|File "|CancelledError|During handling'), worker.tail()


def _publish(steps: Steps, number: int) -> None:
    steps.publish(f"key-{number % 50}", 0.005 * (number % 9))
