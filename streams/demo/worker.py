"""The worker of the demonstration: `faust -A streams worker` in a process of its own."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from streams.demo.child import Child
from streams.demo.errors import DemoFailed
from streams.demo.outcomes import Outcome, Outcomes
from streams.demo.screen import Screen

_READY = re.compile(r"\[\^Worker\]: Ready\b")
#: An earlier worker that was killed holds its partitions until its session ends.
_START_SECONDS = 60.0
_STOP_SECONDS = 40.0


class Worker:
    """A running worker."""

    def __init__(self, child: Child, outcomes: Outcomes) -> None:
        self.outcomes = outcomes
        self._child = child

    async def died(self) -> DemoFailed:
        """Wait for the worker's end, which nobody has asked for, and say how it came."""
        code = await self._child.ended()
        return DemoFailed(f"the worker ended (exit code {code}); the end of {self._child.log}:\n{self._child.tail()}")


@asynccontextmanager
async def worker(screen: Screen, runs: Path, env: Mapping[str, str]) -> AsyncIterator[Worker]:
    """Run a worker; gives it when it is ready for jobs.

    Raises DemoFailed when it does not get there, and when it does not stop cleanly.
    """
    outcomes, ready = Outcomes(), asyncio.Event()

    def listen(line: str) -> None:
        outcome = Outcome.parse(line)
        if outcome is not None:
            outcomes.add(outcome)
        elif _READY.search(line):
            ready.set()

    faust = Path(sys.executable).with_name("faust")
    child = await Child.start(
        [faust, "-A", "streams", "worker", "-l", "info"], log=runs / "worker.log", listener=listen, env=env
    )
    try:
        running = Worker(child, outcomes)
        await _until_ready(running, ready, child)
        screen.fact("worker", f"faust -A streams worker is ready  (log: {child.log})")
        yield running
    finally:
        code = await child.stop(_STOP_SECONDS)
    if code != 0:
        raise DemoFailed(f"the worker did not stop cleanly (exit code {code}); the end of {child.log}:\n{child.tail()}")


async def _until_ready(running: Worker, ready: asyncio.Event, child: Child) -> None:
    waits: list[asyncio.Task[object]] = [asyncio.create_task(ready.wait()), asyncio.create_task(running.died())]
    done, pending = await asyncio.wait(waits, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for wait in pending:
        wait.cancel()
    if waits[1] in done and not ready.is_set():
        failure = waits[1].result()
        assert isinstance(failure, DemoFailed)  # noqa: S101 - what died() returns
        raise failure
    if not done:
        raise DemoFailed(
            f"the worker was not ready within {_START_SECONDS:.0f} s; the end of {child.log}:\n{child.tail()}"
        )
