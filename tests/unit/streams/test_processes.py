"""CPU-bound handlers in a real pool of processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from streams.context import JobContext
from streams.errors import HandlerCrashed, JobTimeout
from streams.processes import Processes, RemoteFailure
from tests.unit.streams.handlers import work
from tests.unit.streams.rig import job, until


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    processes = Processes(1)
    yield processes
    processes.close()


def context() -> JobContext:
    return JobContext("id-1", "webhook", b"key")


async def run(
    pool: Processes, event: str, *, timeout: float = 30, url: str = "", ctx: JobContext | None = None
) -> None:
    await pool.run(work, job(event, url), ctx or context(), timeout)


async def test_runs_in_another_process_with_its_context(pool: Processes, tmp_path: Path) -> None:
    await run(pool, "pid", url=str(tmp_path / "note"))
    pid, *rest = (tmp_path / "note").read_text().split()
    assert int(pid) != os.getpid()
    assert rest == ["id-1", "key"]


@pytest.mark.parametrize(
    ("event", "error_type", "message"),
    [
        ("raise", "ValueError", "no such file"),
        ("exit", "SystemExit", "3"),
        ("odd", "tests.unit.streams.handlers.Odd", "Odd"),
    ],
)
async def test_what_it_raises_comes_back_as_text(pool: Processes, event: str, error_type: str, message: str) -> None:
    with pytest.raises(RemoteFailure) as raised:
        await run(pool, event)
    failure = raised.value.failure
    assert failure.error_type == error_type
    assert message in failure.message
    assert "handlers.py" in failure.stack
    assert "processes.py" not in failure.stack, "the worker's own frames help nobody"


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        ("_exit", "exit status 7"),
        ("kill", "signal SIGKILL"),
        ("segfault", "signal SIGSEGV"),
        ("real-time signal", "signal 40"),
    ],
)
async def test_a_process_that_dies_says_how_and_the_next_job_runs(pool: Processes, event: str, cause: str) -> None:
    with pytest.raises(HandlerCrashed, match=cause):
        await run(pool, event)
    await run(pool, "return")


async def test_a_run_that_takes_too_long_is_killed_and_the_next_job_runs(pool: Processes) -> None:
    with pytest.raises(JobTimeout, match=r"longer than its timeout of 0\.3 s; its process was killed"):
        await run(pool, "sleep", timeout=0.3)
    await run(pool, "return")


async def test_cancelling_kills_the_process_and_the_next_job_runs(pool: Processes) -> None:
    await run(pool, "return")
    before = workers()
    task = asyncio.create_task(run(pool, "sleep"))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await run(pool, "return")
    await until(lambda: not before & workers())


async def test_follow_ups_come_back(pool: Processes) -> None:
    ctx = context()
    await run(pool, "publish", ctx=ctx)
    (follow_up,) = ctx.follow_ups or []
    assert (follow_up.id, follow_up.key, follow_up.payload.event) == ("n", "k", "next")


async def test_a_run_that_fails_publishes_nothing(pool: Processes) -> None:
    ctx = context()
    with pytest.raises(RemoteFailure):
        await run(pool, "publish and raise", ctx=ctx)
    assert not ctx.follow_ups


async def test_a_follow_up_that_cannot_be_sent_to_the_worker_is_the_handlers_fault(pool: Processes) -> None:
    with pytest.raises(RemoteFailure, match=r"pickle|local object"):
        await run(pool, "publish what cannot be pickled")


async def test_close_leaves_no_process_behind() -> None:
    before = workers()
    processes = Processes(1)
    processes.close()
    await run(processes, "return")
    processes.close()
    assert not workers() - before
    processes.close()


def workers() -> set[int]:
    """Processes of pools: without multiprocessing's resource tracker, which lives as long as we do."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(child.cmdline()):
                found.add(child.pid)
    return found
