"""BullMQ on redis without persistence, beside our worker and producers, where node and redis are at hand."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from tests.benchmarks.contenders import ROOT, Contender, note
from tests.brokers.embedded import free_port
from tests.waiting import until

#: What it needs beside what we do; Debian has all of it.
PROGRAMS = ("node", "npm", "redis-server", "redis-cli")

#: Jobs that its worker runs at once; more make it no quicker.
CONCURRENCY = 100

START_SECONDS = 20.0

_SOURCE = Path(__file__).parent
_INSTALLED = ROOT / "build" / "bullmq"


class BullMQ:
    """A queue of BullMQ's, on a redis that holds nothing else."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._queue = f"bench-{token_hex(4)}"

    def publisher(self, way: str, option: int | float = 0) -> Contender:
        """Publishes its jobs: `one` after the other, so many in `flight`, in `bulk` of a size, or `paced` by a rate."""
        return self._contender(f"BullMQ publisher {way}", "publish", way, str(option))

    def worker(self, *, failing: int = 0, timed: bool = False) -> Contender:
        """Runs jobs, of which so many percent fail once; `timed` where their subjects say when they were published."""
        return self._contender("BullMQ worker", "work", str(CONCURRENCY), str(failing), *(["timed"] if timed else []))

    def _contender(self, name: str, *arguments: str) -> Contender:
        command = ("node", str(_INSTALLED / "contender.mjs"), *arguments)
        return Contender(name, command, {"BENCH_REDIS": str(self._port), "BENCH_QUEUE": self._queue})


@contextmanager
def bullmq() -> Iterator[BullMQ | None]:
    """A queue of its own, until the end of the block; None where a program is missing, which the terminal is told."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        note(f"without BullMQ beside it, which needs {', '.join(missing)} (Debian: nodejs, npm, redis-server)")
        yield None
        return
    _install()
    with _redis() as port:
        yield BullMQ(port)


def _install() -> None:
    """Install what package-lock.json names, unless that is there."""
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    installed, locked = _INSTALLED / "node_modules" / ".package-lock.json", _SOURCE / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < locked.stat().st_mtime:
        for name in ("package.json", locked.name):
            shutil.copy(_SOURCE / name, _INSTALLED)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=_INSTALLED, check=True)
    shutil.copy(_SOURCE / "contender.mjs", _INSTALLED)


@contextmanager
def _redis() -> Iterator[int]:
    """The port of a redis on the loopback address that keeps nothing on disk."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", directory]
        with subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL) as server:
            try:
                until(lambda: _answers(port), within=START_SECONDS, what="redis answers")
                yield port
            finally:
                server.terminate()


def _answers(port: int) -> bool:
    said = subprocess.run(["redis-cli", "-p", str(port), "ping"], capture_output=True, check=False)
    return said.stdout.strip() == b"PONG"
