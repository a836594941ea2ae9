"""The measured program's side: counts its jobs, and tells the benchmark when the first and the last of them ran."""

from __future__ import annotations

import json
import os
import time
from typing import Any

JOBS = "BENCH_JOBS"  # how many jobs there are to count
REPORT_FD = "BENCH_REPORT_FD"  # the pipe to the benchmark


class Tally:
    """Counts jobs up to a known number; the clock runs from the first to the last of them."""

    def __init__(self) -> None:
        self.jobs = int(os.environ[JOBS])
        self.done = 0
        self._started = False

    def start(self) -> None:
        """A job starts. Needed only where a job takes its time, so that the first one's is not left out."""
        if not self._started:
            self._started = True
            report(at=time.monotonic_ns(), cpu=time.process_time())

    def end(self, **findings: Any) -> None:
        """A job has ended; the findings go with the last one's report."""
        if not self._started:
            self.start()
        self.done += 1
        if self.done == self.jobs:
            report(at=time.monotonic_ns(), cpu=time.process_time(), **findings)


def report(**fields: Any) -> None:
    """Tell the benchmark. Blocks while it does not read, so once or twice a run is enough."""
    line = json.dumps(fields).encode() + b"\n"
    with os.fdopen(os.dup(int(os.environ[REPORT_FD])), "wb") as pipe:
        pipe.write(line)
