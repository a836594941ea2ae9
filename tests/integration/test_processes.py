"""A pool of processes that loses one while it has nothing to do: no job's fault, and no job's loss."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil

from tests.integration.conftest import Fleet
from tests.publishing import Steps
from tests.topics import count
from tests.unfinished import unfinished
from tests.waiting import until
from tests.workers import Worker, Workers

PROCESSES = 2


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
        run_until_whole(workers, steps, worker, but=killed)
    assert worker.count("the process pool is broken"), "nothing was broken: the test says nothing"
    assert worker.running
    workers.stop()
    assert count(kafka, f"{namespace}.heavy.dead") == 0
    assert len(workers.ledger.runs()) == len(steps.ids), "and nothing ran twice"


def run_until_whole(workers: Workers, steps: Steps, worker: Worker, *, but: set[int]) -> list[int]:
    """Run jobs, one by one, until the worker has all its processes; these, without those that were killed."""
    topic = f"{workers.group.removesuffix('.default')}.heavy"

    def run_one() -> list[int]:
        workers.await_done({steps.publish(None, 0.0, queue="heavy")}, within=30)
        # The run has noted its end; a process that is killed before the worker has heard of it has the job run again.
        until(lambda: not unfinished(workers.bootstrap, workers.group, topic), within=30, what="the job is finished")
        pool = children(worker.pid)
        return [] if but & set(pool) or len(pool) < PROCESSES else pool

    return until(run_one, within=60, what=f"{PROCESSES} processes")


def children(pid: int) -> list[int]:
    """The processes of a worker's pool, by age."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "resource_tracker" not in " ".join(process.cmdline()):
                found.append(process.pid)
    return found
