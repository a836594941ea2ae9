"""A pool of processes that loses one while it has nothing to do: no job's fault, and no job's loss."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import Fleet
from tests.jobs.crunching import RELEASE
from tests.publishing import Steps
from tests.topics import count
from tests.unfinished import unfinished
from tests.waiting import until
from tests.workers import Worker, Workers

PROCESSES = 2


@pytest.mark.usefixtures("heeded_signals")
def test_a_stop_of_every_process_fails_nothing_and_no_queue_waits_for_another(
    fleet: Fleet, kafka: str, namespace: str, tmp_path: Path
) -> None:
    """What systemd does, supervisors, `timeout` and Ctrl-C, while more jobs wait for a process than there are."""
    release = tmp_path / "release"
    workers = fleet("tests.jobs.crunching", processes=1, log_jobs=True, environment={RELEASE: str(release)})
    (worker,) = workers.start()
    book = workers.ledger
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
        os.kill(worker.pid, number)
    with Steps(kafka, namespace) as steps:
        long = [steps.publish(None, 1.0, queue="long") for _ in range(3)]
        until(lambda: book.started, within=30, what="a long job runs")
        short = {steps.publish(None, 0.0, queue="short") for _ in range(3)}
        workers.await_done(short, within=30)
        for process in (psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)):
            process.send_signal(signal.SIGTERM)
    until(lambda: worker.count("waiting for 1 jobs that run"), within=30, what="the worker waits for the one that runs")
    release.touch()
    assert worker.wait() == 0, worker.tail()
    assert len(book.done - short) == 1, "the one that ran has ended, and those that waited have not begun"
    assert worker.count("SIGUSR2 does nothing")
    assert worker.count("an alarm has gone off")
    (second,) = workers.start()
    workers.await_done({*long}, within=60)
    os.kill(second.pid, signal.SIGHUP)
    assert second.wait() == 0, second.tail()
    assert second.count("what has finished is committed")
    assert len(book.runs()) == len(steps.ids), "nothing ran twice"
    assert count(kafka, f"{namespace}.long.dead") == 0


def test_idle_processes_that_are_killed(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.sharing", processes=PROCESSES)
    (worker,) = workers.start()
    with Steps(kafka, namespace) as steps:
        killed: set[int] = set()
        for victims in (1, PROCESSES, 1):
            pool = run_until_whole(workers, steps, worker, but=killed)
            killed = set(pool[:victims])
            for process in killed:
                os.kill(process, signal.SIGKILL)
            # Else the next job may find the dead one before the worker does.
            until(lambda: worker.count("died while it had nothing to do"), within=30, what=worker.tail)
        run_until_whole(workers, steps, worker, but=killed)
    assert worker.running
    workers.stop()
    assert count(kafka, f"{namespace}.heavy.dead") == 0
    assert len(workers.ledger.runs()) == len(steps.ids), "and nothing ran twice"


def run_until_whole(workers: Workers, steps: Steps, worker: Worker, *, but: set[int]) -> list[int]:
    """Run jobs, some at a time, until the worker has all its processes; these, without those that were killed."""
    topic = f"{workers.group.removesuffix('.default')}.heavy"

    def run_some() -> list[int]:
        workers.await_done({steps.publish(None, 0.3, queue="heavy") for _ in range(PROCESSES)}, within=30)
        # A run has noted its end; a process that is killed before the worker has heard of it has the job run again.
        until(lambda: not unfinished(workers.bootstrap, workers.group, topic), within=30, what="the job is finished")
        pool = children(worker.pid)
        return [] if but & set(pool) or len(pool) < PROCESSES else pool

    return until(run_some, within=60, what=f"{PROCESSES} processes")


def children(pid: int) -> list[int]:
    """The processes of a worker's pool, by age."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            # Its guard has its command line as arguments.
            if "".join(process.cmdline()[-3:-2]).endswith("child.py"):
                found.append(process.pid)
    return found
