"""What became of each job, and of each run that failed, read from the worker's log (STREAMS_LOG_JOBS)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

#: As streams.logs.job_lines writes it.
_LINE = re.compile(
    r"\b(?P<state>done |dead |retry|later) (?P<queue>\S+) (?P<id>\S+) key=(?P<key>.*?) (?P<ms>\d+) ms"
    r"(?:: (?P<reason>.*))?\Z"
)


_FINAL = frozenset({"done", "dead"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended, or how a run did after which it comes back."""

    state: str
    queue: str
    id: str
    key: str
    #: How long its run took.
    milliseconds: int
    reason: str | None

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self.state in _FINAL

    @classmethod
    def parse(cls, line: str) -> Outcome | None:
        """The outcome in a line of the worker's log, if there is one."""
        found = _LINE.search(line)
        if found is None:
            return None
        return cls(
            found["state"].rstrip(), found["queue"], found["id"], found["key"], int(found["ms"]), found["reason"]
        )


class Outcomes:
    """The outcomes so far, in their order, and a wait for those to come. Other people's jobs are in it, too."""

    def __init__(self) -> None:
        self.order: list[str] = []
        #: When each run had ended, as far as its line tells, by the monotonic clock.
        self.ended_at: dict[str, float] = {}
        self._listeners: list[Callable[[Outcome], None]] = []
        self._known: dict[str, asyncio.Future[Outcome]] = {}

    def subscribe(self, listener: Callable[[Outcome], None]) -> None:
        """Call this with each outcome as it comes, and with each run after which a job comes back."""
        self._listeners.append(listener)

    def add(self, outcome: Outcome) -> None:
        """Take note of an outcome; of a repeated job the first counts."""
        if outcome.final and not self._end(outcome):
            return
        for listener in self._listeners:
            listener(outcome)

    def _end(self, outcome: Outcome) -> bool:
        """Give a job its outcome; returns whether it had none."""
        future = self._future(outcome.id)
        if future.done():
            return False
        self.order.append(outcome.id)
        self.ended_at[outcome.id] = monotonic()
        future.set_result(outcome)
        return True

    async def of(self, job_id: str) -> Outcome:
        """Wait for a job's outcome."""
        return await asyncio.shield(self._future(job_id))

    def _future(self, job_id: str) -> asyncio.Future[Outcome]:
        if job_id not in self._known:
            self._known[job_id] = asyncio.get_running_loop().create_future()
        return self._known[job_id]
