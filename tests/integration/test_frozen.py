"""A worker that is frozen for longer than its session, and thaws: its group has gone on without it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack

from tests.integration.conftest import Fleet
from tests.ledger import SECOND
from tests.ledger_rules import lost, repeats
from tests.publishing import Steps, load
from tests.waiting import until
from tests.workers import Workers

FROZEN_SECONDS = 10


def test_nothing_is_lost_when_a_frozen_worker_thaws(
    fleet: Fleet, kafka: str, namespace: str, show: Callable[[str], None]
) -> None:
    workers = fleet("tests.jobs.ordered", session_timeout=6)
    frozen, _ = workers.start(2)
    book = workers.ledger
    with ExitStack() as publishing:
        steps = publishing.enter_context(Steps(kafka, namespace))
        publishing.enter_context(load(lambda number: _publish(steps, number), rate=250))
        until(lambda: len(book.done) > 500, within=30, what="work is under way")
        os.kill(frozen.pid, signal.SIGSTOP)
        # Being frozen is a length of time; there is no condition to wait for.
        time.sleep(FROZEN_SECONDS)
        os.kill(frozen.pid, signal.SIGCONT)
        thawed = time.monotonic_ns()
        until(lambda: _works_again(workers, frozen.pid, thawed), within=30, what="the thawed worker has work again")
    workers.await_done(steps.ids, within=60)
    workers.stop()
    runs = book.runs()
    show(f"{len(steps.ids):,} jobs, a worker frozen for {FROZEN_SECONDS} s; {len(repeats(runs))} jobs ran again")
    assert not lost(steps.ids, runs)
    # What the thawed worker still had in memory may run there too, until it learns that the group has gone on.
    assert all(any(run.process == frozen.pid for run in again) for again in repeats(runs).values())


def _works_again(workers: Workers, pid: int, thawed: int) -> bool:
    runs = workers.ledger.runs()
    return sum(run.process == pid and run.start > thawed + 2 * SECOND for run in runs) > 50


def _publish(steps: Steps, number: int) -> None:
    steps.publish(f"key-{number % 50}", 0.005 * (number % 9))
