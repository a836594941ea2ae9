"""What became of each job, and of each run that failed, read from the worker's log (STREAMS_LOG_JOBS)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

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
        #: Called with each outcome as it comes.
        self.listener: Callable[[Outcome], None] | None = None
        #: Called with each run after which a job comes back.
        self.on_retry: Callable[[Outcome], None] = lambda outcome: None
        self._known: dict[str, asyncio.Future[Outcome]] = {}

    def add(self, outcome: Outcome) -> None:
        """Take note of an outcome; of a repeated job the first counts."""
        if not outcome.final:
            self.on_retry(outcome)
            return
        future = self._future(outcome.id)
        if not future.done():
            self.order.append(outcome.id)
            future.set_result(outcome)
            if self.listener is not None:
                self.listener(outcome)

    async def of(self, job_id: str) -> Outcome:
        """Wait for a job's outcome."""
        return await asyncio.shield(self._future(job_id))

    def _future(self, job_id: str) -> asyncio.Future[Outcome]:
        if job_id not in self._known:
            self._known[job_id] = asyncio.get_running_loop().create_future()
        return self._known[job_id]
