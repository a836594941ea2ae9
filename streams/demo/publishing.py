"""Publishes examples and shows what becomes of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic

from producers import AsyncJobProducer
from streams.demo.errors import DemoFailed
from streams.demo.examples import Example
from streams.demo.outcomes import Outcome, Outcomes
from streams.demo.screen import Screen

#: In which every job must have ended.
BOUND_SECONDS = 30.0
#: In which it must have begun: what an earlier run left behind would hold its key back until then, since the servers
#: that it is meant for are gone.
EXPIRY_SECONDS = 15.0
_REMEDY = (
    "The worker's log may say why. If another worker serves the same namespace on this Kafka, it had the jobs: set"
    " STREAMS_NAMESPACE to a name of your own."
)


@dataclass(frozen=True, slots=True)
class Published:
    """An example, its job's id, and the monotonic time of its publication."""

    example: Example
    id: str
    at: float


class Publisher:
    """Publishes examples, and shows each outcome as it comes."""

    def __init__(self, screen: Screen, producer: AsyncJobProducer, outcomes: Outcomes) -> None:
        self._screen = screen
        self._producer = producer
        self._outcomes = outcomes
        self._ours: set[str] = set()
        self._open: list[tuple[Published, asyncio.Task[Outcome]]] = []
        self._shows_others = False
        outcomes.subscribe(self._hear)

    async def publish(self, example: Example) -> Published:
        """Publish a job through the public API."""
        at = monotonic()
        handle = await self._producer.publish(
            example.payload,
            key=example.key,
            queue=example.queue,
            expires_in=EXPIRY_SECONDS,
            delay=example.delay,
        )
        queue = handle.topic.rpartition(".")[2]
        self._screen.event("published", queue, handle.id, example.key, example.what)
        published = Published(example, handle.id, at)
        self._ours.add(handle.id)
        self._open.append((published, asyncio.create_task(self._show(published))))
        return published

    def show_others(self) -> None:
        """Show, from now on, what becomes of jobs that somebody else publishes."""
        self._shows_others = True

    async def settle(self) -> None:
        """Wait for the outcomes of everything published. Raises DemoFailed for each that is late or another."""
        jobs, self._open = self._open, []
        if not jobs:
            return
        await asyncio.wait([task for _, task in jobs], timeout=BOUND_SECONDS)
        wrong = [trouble for job, task in jobs if (trouble := _trouble(job, task))]
        for _, task in jobs:
            task.cancel()
        if wrong:
            raise DemoFailed("\n".join([*wrong, _REMEDY]))

    async def _show(self, job: Published) -> Outcome:
        outcome = await self._outcomes.of(job.id)
        self._tell(outcome)
        return outcome

    def _hear(self, outcome: Outcome) -> None:
        # How our own jobs end is shown by those that wait for them.
        if self._shows_others if outcome.id not in self._ours else not outcome.final:
            self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        took = f"{outcome.milliseconds:>6} ms"
        text = took if outcome.reason is None else f"{took}  {_short(outcome.reason)}"
        self._screen.event(outcome.state, outcome.queue, outcome.id, outcome.key, text)


def _trouble(job: Published, task: asyncio.Task[Outcome]) -> str | None:
    what = f"job {job.id} ({job.example.key}: {job.example.what})"
    if not task.done():
        return f"{what} had no outcome within {BOUND_SECONDS:.0f} s"
    outcome = task.result()
    if outcome.state != job.example.ends:
        return f"{what} ended as {outcome.state!r} instead of {job.example.ends!r}: {outcome.reason or 'no reason'}"
    return None


def _short(reason: str) -> str:
    """The reason without the module of its type."""
    name, separator, message = reason.partition(": ")
    return f"{name.rpartition('.')[2]}{separator}{message}"
