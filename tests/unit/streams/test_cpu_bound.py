"""CPU-bound jobs of a queue, in a real pool: which have begun, and which only wait for a process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from streams.ports.records import PartitionStart
from streams.worker.handlers.processes import ProcessRunner
from tests.unit.streams.handlers import noting, work
from tests.unit.streams.rig import CODEC, P0, TOPIC, Fetched, job, rig, turns, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[ProcessRunner]:
    processes = ProcessRunner(1)
    yield processes
    await processes.close()


def cpu_bound(offset: int, event: str, url: str = "http://localhost") -> Fetched:
    return Fetched(offset, None, CODEC.encode(job(event, url), TOPIC))


def noted_by_hook(directory: Path, name: str) -> list[str]:
    (note,) = directory.glob(f"{name}-*")
    return note.read_text().split()


def noted(note: Path, number: int) -> bool:
    return Path(f"{note}{number}").exists()


async def test_a_job_that_waits_for_a_process_has_not_begun(pool: ProcessRunner, tmp_path: Path) -> None:
    note = tmp_path / "note"
    async with rig(work, processes=pool, concurrency=4, timeout=3) as it:
        it.open(P0)
        it.take([cpu_bound(0, "return")])
        await it.idle()
        it.take(
            [
                cpu_bound(1, "note and wait", str(note)),
                *(cpu_bound(number, "pid", f"{note}{number}") for number in (2, 3)),
            ]
        )
        await until(note.exists)
        await turns()
        assert it.executor.active == 1
        it.assignment.block_starts()
        # The one that runs is over, for a stop or a handover; those that wait neither hold it up nor start.
        await it.executor.quiet()
        assert not noted(note, 2)
        it.assignment.unblock_starts()
        await it.idle()
        assert noted(note, 2)
        assert noted(note, 3)
        assert [record.topic for record in it.letters.sent] == [f"{TOPIC}.dead"], "the one that ran for too long"


async def test_waiting_for_a_process_counts_towards_no_timeout(pool: ProcessRunner) -> None:
    async with rig(work, processes=pool, concurrency=4, timeout=2.5) as it:
        it.open(P0)
        it.take([cpu_bound(number, "sleep a second") for number in range(3)])
        await it.idle()
        assert not it.letters.sent


async def test_what_runs_in_a_process_has_killed_no_worker(pool: ProcessRunner, tmp_path: Path) -> None:
    """Nor is it named, nor does it wait for a commit."""
    async with rig(work, processes=pool) as it:
        it.open(P0, committed=PartitionStart(0, "~1,0*1,1!1", 0, 100))
        it.take([cpu_bound(number, "note and return", f"{tmp_path}/ran{number}") for number in range(3)])
        await it.idle()
        assert not it.letters.sent
        assert all(noted(tmp_path / "ran", number) for number in range(3))


async def test_what_cannot_be_read_waits_for_no_process(pool: ProcessRunner, tmp_path: Path) -> None:
    note = tmp_path / "note"
    async with rig(work, processes=pool, concurrency=2) as it:
        it.open(P0)
        it.take([cpu_bound(0, "note and wait", str(note))])
        await until(note.exists)
        it.take([Fetched(1, None, b"no job")])
        await until(lambda: it.letters.sent)
        it.executor.forget_lost()
        os.kill(int(note.read_text()), signal.SIGKILL)
        await it.idle()


async def test_a_partition_that_is_lost_takes_its_waiting_jobs_along(pool: ProcessRunner, tmp_path: Path) -> None:
    note = tmp_path / "note"
    async with rig(work, processes=pool, concurrency=2) as it:
        it.open(P0)
        it.take([cpu_bound(0, "note and wait", str(note)), cpu_bound(1, "pid", f"{note}1")])
        await until(note.exists)
        it.assignment.reassign([], 2)
        await until(lambda: not it.executor.active)
        it.open(P0, generation=3)
        it.take([cpu_bound(0, "pid", f"{note}0")])
        await it.idle()
        await asyncio.sleep(0)
        assert noted(note, 0)
        assert not noted(note, 1)


async def test_hooks_are_entered_and_left_in_the_process(pool: ProcessRunner, tmp_path: Path) -> None:
    async with rig(work, processes=pool, concurrency=1, around=noting) as it:
        it.open(P0)
        it.take([cpu_bound(0, "return", str(tmp_path / "a")), cpu_bound(1, "raise", str(tmp_path / "b"))])
        await it.idle()
    (mine, how), (same, *what) = noted_by_hook(tmp_path, "a"), noted_by_hook(tmp_path, "b")
    assert (how, " ".join(what)) == ("returned", "raised no such file")
    assert mine == same != str(os.getpid())
