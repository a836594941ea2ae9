"""Starts the measured programs, each in a process of its own, and waits for what they report."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tests.benchmarks.tally import JOBS, REPORT_FD

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "build" / "bench"
START_SECONDS = 60.0
RUN_SECONDS = 300.0
STOP_SECONDS = 20.0
# A worker under test must not pick these up from the shell.
_NOT_INHERITED = ("STREAMS_", "SCHEMA_REGISTRY_", "BENCH_")


@dataclass(frozen=True)
class Contender:
    """A program to measure: how to start it, and what it finds in its environment."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Drained:
    """How a contender got through its jobs, from the first to the last."""

    jobs: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """CPU time a job, of all threads; it says more than the rate where others use the machine, too."""
        return self.cpu_seconds * 1e6 / self.jobs


class Running:
    """A contender that has been started."""

    def __init__(self, contender: Contender, process: subprocess.Popen[bytes], reports: BinaryIO, log: Path) -> None:
        self.pid = process.pid
        self._contender = contender
        self._process = process
        self._reports = reports
        self._log = log

    def report(self, timeout: float) -> dict[str, Any]:
        """Wait for its next report.

        Raises RuntimeError when it reports a fault, ends, or says nothing for `timeout` seconds.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._reports, selectors.EVENT_READ)
            line = self._reports.readline() if selector.select(timeout) else None
        if not line:
            why = f"said nothing for {timeout:.0f} s" if line is None else "ended before its jobs were done"
            raise RuntimeError(f"{self._contender.name} {why}; the end of {self._log}:\n{self._last_words()}")
        found: dict[str, Any] = json.loads(line)
        if "fault" in found:
            raise RuntimeError(f"{self._contender.name}: {found['fault']}")
        return found

    def drain(self, jobs: int) -> Drained:
        """Wait until it has run its jobs."""
        first = self.report(START_SECONDS)
        last = self.report(RUN_SECONDS)
        return Drained(jobs, (last["at"] - first["at"]) / 1e9, last["cpu"] - first["cpu"])

    def drain_with(self, jobs: int) -> list[int]:
        """Wait until it has run its jobs; the nanoseconds that each has waited for something."""
        self.report(START_SECONDS + RUN_SECONDS)
        waits: list[int] = self.report(RUN_SECONDS)["waits_ns"]
        assert len(waits) == jobs
        return waits

    def stop(self) -> None:
        """Have it end in order, or by force after a while."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
            return
        self._process.kill()
        self._process.wait()

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])


@contextmanager
def running(contender: Contender, jobs: int) -> Iterator[Running]:
    """Start a contender that is to count this many jobs, and stop it at the end."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{contender.name.replace(' ', '-')}.log"
    reading, writing = os.pipe()
    with tempfile.TemporaryDirectory() as scratch, log.open("wb") as output, os.fdopen(reading, "rb") as reports:
        own = {JOBS: str(jobs), REPORT_FD: str(writing), "BENCH_SCRATCH": scratch}
        process = subprocess.Popen(
            contender.command,
            cwd=ROOT,
            env={**_inherited(), **contender.environment, **own},
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
        )
        os.close(writing)  # so that its end is the end of the pipe
        started = Running(contender, process, reports, log)
        try:
            yield started
        finally:
            started.stop()


def measure(contender: Contender, jobs: int) -> Drained:
    """Start a contender, let it run its jobs and stop it; tells the terminal what came of it."""
    with running(contender, jobs) as started:
        drained = started.drain(jobs)
    note(f"  {contender.name}: {drained.rate:,.0f} jobs/s, {drained.cpu_microseconds:.1f} µs of CPU a job")
    return drained


def python(name: str, module: str, *arguments: str, **environment: str) -> Contender:
    """A module run by this interpreter."""
    return Contender(name, (sys.executable, "-m", module, *arguments), environment)


def worker(name: str, bootstrap: str, namespace: str, **settings: str) -> Contender:
    """Our worker, as `faust -A streams worker`, in a pool of its own: it reads its topics from the start."""
    environment = {
        "PYTHONPATH": str(ROOT),
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "STREAMS_NAMESPACE": namespace,
        "STREAMS_POOL": f"run-{time.monotonic_ns()}",
        "STREAMS_JOBS": "tests.benchmarks.jobs",
        "STREAMS_SHIPPED_JOBS": "false",
        **settings,
    }
    return python(name, "faust", "-A", "streams", "worker", "-l", "info", **environment)


def note(text: str) -> None:
    """Tell the person at the terminal; stdout is for the table."""
    print(text, file=sys.stderr, flush=True)


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
