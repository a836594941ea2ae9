"""CPU-bound handlers in a real pool of processes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import psutil
import pytest
import pytest_asyncio

from streams.api.context import JobContext
from streams.errors import HandlerCrashed, JobTimeout
from streams.worker.handlers.processes import ProcessRunner, RemoteFailure
from streams.worker.process_pool.child_runs import HandlerAddress, _perform
from tests.unit.streams.handlers import work
from tests.unit.streams.rig import job, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[ProcessRunner]:
    processes = ProcessRunner(1)
    yield processes
    await processes.close()


def context() -> JobContext:
    return JobContext("id-1", "webhook", b"key")


async def run(
    pool: ProcessRunner, event: str, *, timeout: float = 30, url: str = "", ctx: JobContext | None = None
) -> None:
    await pool.run(HandlerAddress.of(work), job(event, url), ctx or context(), timeout)


async def test_runs_in_another_process_with_its_context(pool: ProcessRunner, tmp_path: Path) -> None:
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
async def test_what_it_raises_comes_back_as_text(
    pool: ProcessRunner, event: str, error_type: str, message: str
) -> None:
    with pytest.raises(RemoteFailure) as raised:
        await run(pool, event)
    failure = raised.value.failure
    assert failure.error_type == error_type
    assert message in failure.message
    assert "handlers.py" in failure.stack.splitlines()[1], "the worker's own frames help nobody"


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        ("_exit", "exit status 7"),
        ("kill", "signal SIGKILL"),
        ("segfault", "signal SIGSEGV"),
        ("real-time signal", "signal 40"),
    ],
)
async def test_a_process_that_dies_says_how_and_the_next_job_runs(pool: ProcessRunner, event: str, cause: str) -> None:
    with pytest.raises(HandlerCrashed, match=cause):
        await run(pool, event)
    await run(pool, "return")


async def test_a_run_that_takes_too_long_is_killed_and_the_next_job_runs(pool: ProcessRunner) -> None:
    with pytest.raises(JobTimeout, match=r"longer than its timeout of 0\.3 s; its process was killed"):
        await run(pool, "sleep", timeout=0.3)
    await run(pool, "return")


async def test_cancelling_kills_the_process_and_the_next_job_runs(pool: ProcessRunner) -> None:
    await run(pool, "return")
    before = workers()
    task = asyncio.create_task(run(pool, "sleep"))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await run(pool, "return")
    await until(lambda: not before & workers())


async def test_work_that_is_handed_back_undone_is_a_failure(pool: ProcessRunner) -> None:
    with pytest.raises(RemoteFailure, match="returned a generator, so its work was not done"):
        await run(pool, "return work undone")


async def test_follow_ups_come_back(pool: ProcessRunner) -> None:
    ctx = context()
    await run(pool, "publish", ctx=ctx)
    (follow_up,) = ctx.follow_ups or []
    assert (follow_up.options, follow_up.payload.event) == ({"id": "n", "key": "k"}, "next")


async def test_a_run_that_fails_publishes_nothing(pool: ProcessRunner) -> None:
    ctx = context()
    with pytest.raises(RemoteFailure):
        await run(pool, "publish and raise", ctx=ctx)
    assert not ctx.follow_ups


async def test_a_follow_up_that_cannot_be_sent_to_the_worker_is_the_handlers_fault(pool: ProcessRunner) -> None:
    with pytest.raises(RemoteFailure, match=r"pickle|local object"):
        await run(pool, "publish what cannot be pickled")


async def test_close_leaves_no_process_behind() -> None:
    before = workers()
    processes = ProcessRunner(1)
    await processes.close()
    await run(processes, "return")
    await processes.close()
    assert not workers() - before
    await processes.close()


def workers() -> set[int]:
    """Processes of pools: without multiprocessing's resource tracker, which lives as long as we do."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


async def test_what_a_handler_has_started_ends_with_it(pool: ProcessRunner, tmp_path: Path) -> None:
    note = tmp_path / "note"
    task = asyncio.create_task(run(pool, "start programs", url=str(note)))
    await until(note.exists, within=60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    started = [int(line) for line in note.read_text().split()]
    assert len(started) == 4
    assert [number for number in started if is_alive(number)] == []


async def test_what_a_job_leaves_running_ends_with_its_process(tmp_path: Path) -> None:
    processes = ProcessRunner(1, jobs=1)
    await run(processes, "leave a program", url=str(tmp_path / "note"))
    await processes.close()
    assert not any(map(is_alive, map(int, (tmp_path / "note").read_text().split())))


async def test_when_the_worker_is_killed_all_ends(tmp_path: Path) -> None:
    note = tmp_path / "note"
    script = (
        "import asyncio; from tests.unit.streams.test_processes import *;"
        f"asyncio.run(run(ProcessRunner(1), 'start programs', url={str(note)!r}))"
    )
    worker = subprocess.Popen([sys.executable, "-c", script])  # noqa: ASYNC220
    try:
        await until(note.exists, within=60)
    finally:
        worker.kill()
        worker.wait()
    started = [int(line) for line in note.read_text().split()]
    await until(lambda: not any(map(is_alive, started)))


async def test_when_its_guard_is_killed_a_process_dies_and_the_next_job_runs(tmp_path: Path) -> None:
    processes, note = ProcessRunner(1), tmp_path / "note"
    task = asyncio.create_task(run(processes, "start programs", url=str(note)))
    await until(note.exists, within=60)
    process = int(note.read_text().split()[-1])
    os.kill(psutil.Process(process).ppid(), signal.SIGKILL)
    with pytest.raises(HandlerCrashed, match="its guard was killed"):
        await task
    await run(processes, "return")
    await processes.close()
    assert not is_alive(process)


async def test_signals_to_stop_are_the_workers_and_programs_heed_them(pool: ProcessRunner, tmp_path: Path) -> None:
    await run(pool, "stop signals", url=str(tmp_path / "note"))
    group, program, fork = map(int, (tmp_path / "note").read_text().split())
    assert group != os.getpgid(0)
    assert (program, fork) == (-signal.SIGTERM, -signal.SIGTERM)


async def test_a_timeout_goes_by_the_monotonic_clock(pool: ProcessRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    await run(pool, "return")
    true, shifted = time.time, monotonic() + 0.2
    monkeypatch.setattr(time, "time", lambda: true() - 3600 * (monotonic() > shifted))
    with pytest.raises(JobTimeout):
        await asyncio.wait_for(run(pool, "sleep", timeout=0.5), 20)


async def test_a_process_is_replaced_after_its_jobs_and_none_is_lost(tmp_path: Path) -> None:
    processes = ProcessRunner(1, jobs=2)
    seen = []
    for number in range(5):
        await run(processes, "pid", url=str(tmp_path / str(number)))
        seen.append(int((tmp_path / str(number)).read_text().split()[0]))
    await processes.close()
    assert [seen.count(each) for each in dict.fromkeys(seen)] == [2, 2, 1]


async def test_a_process_that_has_grown_is_replaced(tmp_path: Path) -> None:
    processes = ProcessRunner(1, memory=1)
    for number, event in enumerate(("pid", "memory", "pid", "memory", "memory", "pid")):
        await run(processes, event, url=str(tmp_path / str(number)))
    first, same, other = (int((tmp_path / name).read_text().split()[0]) for name in "025")
    await processes.close()
    assert first == same, "twice what it had at first is no leak"
    assert other != first


async def test_a_process_in_which_memory_ran_out_is_replaced(tmp_path: Path) -> None:
    processes = ProcessRunner(1)
    for number, event in enumerate(("pid", "MemoryError", "pid")):
        with contextlib.suppress(RemoteFailure):
            await run(processes, event, url=str(tmp_path / str(number)))
    await processes.close()
    assert len({(tmp_path / name).read_text() for name in "02"}) == 2


async def test_a_job_finds_its_process_as_the_first_one_did(pool: ProcessRunner, tmp_path: Path) -> None:
    for name in ("before", "after"):
        await run(pool, "tell everything", url=str(tmp_path / name))
        await run(pool, "change everything")
    assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()


async def test_a_fork_that_comes_back_from_the_handler_answers_for_nobody(pool: ProcessRunner) -> None:
    for _ in range(3):
        await run(pool, "come back from a fork")
    await run(pool, "return")


async def test_lines_of_handlers_are_lines_of_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    processes = ProcessRunner(1)
    await run(processes, "log")
    await processes.close()
    lines = {record.getMessage(): record for record in caplog.records if record.process != os.getpid()}
    told = lines["[webhook id-1] told by ctx"]
    assert (told.name, told.levelname, vars(told)["job_key"]) == ("streams.job", "INFO", "key")
    assert "100 % %d" in lines
    assert any(text.startswith("'bad %d' with arguments that do not fit") for text in lines)
    assert any("on thin ice" in text and record.name == "py.warnings" for text, record in lines.items())
    assert "KeyError: 'lost'" in (lines["caught"].exc_text or "")
    assert not [text for text in lines if "too fine" in text]


async def test_logging_waits_for_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pool = ProcessRunner(1)
    await run(pool, "return")
    note = tmp_path / "note"
    running = asyncio.create_task(run(pool, "log a lot", url=str(note)))
    await asyncio.sleep(0)
    wait_for(note)
    assert not running.done()
    await running
    await run(pool, "log")
    await pool.close()
    assert "lines of process" in caplog.text
    assert "were dropped" in caplog.text


async def test_a_process_that_cannot_be_made_ready_fails_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "not_yet_fit.py"
    module.write_text("raise OSError('no more of these')")
    processes = ProcessRunner(1, modules=["not_yet_fit"])
    running = asyncio.create_task(run(processes, "return"))
    await until(lambda: "no more of these" in caplog.text, within=60)
    assert not running.done()
    module.write_text("")
    await running
    await processes.close()


async def test_a_machine_that_starts_no_more_processes_fails_no_job(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processes = ProcessRunner(1)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        running = asyncio.create_task(run(processes, "return"))
        await until(lambda: "it cannot be started" in caplog.text)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    await running
    await processes.close()


async def test_processes_start_when_they_are_needed() -> None:
    before = workers()
    processes = ProcessRunner(24)
    await run(processes, "return")
    assert len(workers() - before) == 2, "one, and its guard"
    await processes.close()


async def test_a_failure_keeps_nothing_of_what_its_handler_held() -> None:
    gc.collect()
    gc.disable()
    try:
        work_ = pickle.dumps((HandlerAddress((__name__, "fail_with_something")), None, context()))
        assert _perform(work_).failure is not None
        assert held
        assert held[0]() is None
    finally:
        gc.enable()


class Something:
    pass


held: list[weakref.ref[Something]] = []


def fail_with_something(job: object, ctx: JobContext) -> None:
    something = Something()
    held.append(weakref.ref(something))
    raise ValueError(f"with {something}")


def wait_for(note: Path) -> None:
    """Wait, and have the loop stand still."""
    give_up = monotonic() + 60
    while not note.exists():
        assert monotonic() < give_up, "the handler waits for the worker"
        time.sleep(0.01)


def is_alive(number: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    return False
