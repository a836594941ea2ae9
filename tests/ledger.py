"""A ledger of what handlers did, kept outside Kafka. The rules it is checked against are in ledger_rules.

Every process appends to a file of its own (O_APPEND, one write a line), so that nothing it wrote is lost by a kill -9.
Times are CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from pathlib import Path

#: Names the directory of the ledger to the processes that write it.
DIRECTORY = "TEST_LEDGER"

#: Names the process that stands in the ledger, where that is not the one which writes: a worker, to its pool.
PROCESS = "TEST_LEDGER_PROCESS"

SECOND = 1_000_000_000


class Mark(Enum):
    """What a line of the ledger says of a run."""

    START = "S"
    #: The handler returned.
    END = "E"
    #: The handler raised.
    FAIL = "F"
    #: The handler was cancelled.
    CUT = "C"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger."""

    mark: Mark
    at: int
    process: int
    job: str
    key: str
    seq: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job, in nanoseconds of CLOCK_MONOTONIC."""

    job: str
    key: str
    seq: int
    process: int
    start: int
    #: None while it runs, and for ever if its process was killed.
    end: int | None = None
    #: Whether the handler returned.
    done: bool = False
    #: Whether it raised. Where it neither returned nor raised, it was cut short.
    failed: bool = False
    #: Attempts made before this run.
    attempt: int = 0

    def __str__(self) -> str:
        took = "unfinished" if self.end is None else f"{(self.end - self.start) / 1e6:.1f} ms"
        how = "" if self.done or self.end is None else ", failed" if self.failed else ", cut"
        attempt = f", attempt {self.attempt}" if self.attempt else ""
        return f"{self.key}#{self.seq} on {self.process} from {self.start / 1e9:.4f} ({took}{how}{attempt})"


# -- writing


def note(mark: Mark, job: str, key: str | None, seq: int, attempt: int = 0) -> None:
    """Append a line to this process's file of the ledger."""
    process = os.environ.get(PROCESS) or os.getpid()
    line = f"{mark.value}\t{time.monotonic_ns()}\t{process}\t{job}\t{key or ''}\t{seq}\t{attempt}\n"
    os.write(_file(os.environ[DIRECTORY], os.getpid()), line.encode())


@contextmanager
def noted(job: str, key: str | None, seq: int, attempt: int = 0) -> Iterator[None]:
    """Note a run's start, and how it ends."""
    note(Mark.START, job, key, seq, attempt)
    try:
        yield
    except Exception:
        note(Mark.FAIL, job, key, seq, attempt)
        raise
    except BaseException:
        note(Mark.CUT, job, key, seq, attempt)
        raise
    note(Mark.END, job, key, seq, attempt)


@lru_cache
def _file(directory: str, process: int) -> int:
    return os.open(Path(directory) / str(process), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


# -- reading


class Ledger:
    """The ledger of one test, which may be read while it is written."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._read: dict[Path, int] = {}
        self._entries: list[Entry] = []
        self._done: set[str] = set()
        self._started: set[str] = set()

    def entries(self) -> list[Entry]:
        """Every entry so far."""
        for path in self.directory.iterdir():
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                whole, newline, _ = file.read().rpartition(b"\n")
            self._read[path] = self._read.get(path, 0) + len(whole) + len(newline)
            self._add(_parse(line) for line in whole.decode().splitlines())
        return self._entries

    def _add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._entries.append(entry)
            if entry.mark is Mark.END:
                self._done.add(entry.job)
            elif entry.mark is Mark.START:
                self._started.add(entry.job)

    @property
    def done(self) -> set[str]:
        """The jobs that were done at least once."""
        self.entries()
        return self._done

    @property
    def started(self) -> set[str]:
        """The jobs that were started at least once."""
        self.entries()
        return self._started

    def runs(self) -> list[Run]:
        """Every run so far, by start."""
        return runs_of(self.entries())


def _parse(line: str) -> Entry:
    mark, at, process, job, key, seq, attempt = line.split("\t")
    return Entry(Mark(mark), int(at), int(process), job, key, int(seq), int(attempt))


def runs_of(entries: Iterable[Entry]) -> list[Run]:
    """The runs that some entries tell of, by start. An end belongs to the last start of its job in its process."""
    runs: list[Run] = []
    running: dict[tuple[int, str], list[int]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.at):
        place = (entry.process, entry.job)
        if entry.mark is Mark.START:
            running[place].append(len(runs))
            runs.append(Run(entry.job, entry.key, entry.seq, entry.process, entry.at, attempt=entry.attempt))
        else:
            at = running[place].pop()
            done, failed = entry.mark is Mark.END, entry.mark is Mark.FAIL
            runs[at] = replace(runs[at], end=entry.at, done=done, failed=failed)
    return runs
