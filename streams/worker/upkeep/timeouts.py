"""Cancels runs that take longer than their timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic

from streams.worker.runner import CancelReason, Runner

#: How often to look for runs that take too long. Seconds.
_INTERVAL = 0.05

#: How late a look may be until the event loop has stood still. Seconds.
_STANDSTILL = 0.5


async def cancel_overdue(runners: Callable[[], Iterable[Runner]]) -> None:
    """Cancel the runs of these runners that take too long, until this is cancelled itself."""
    now = monotonic()
    while True:
        due = now + _INTERVAL
        await asyncio.sleep(_INTERVAL)
        now = monotonic()
        if now - due > _STANDSTILL:
            _make_up_for(runners(), due, now)
        for runner in runners():
            if runner.deadline is not None and runner.deadline <= now:
                runner.cancel(CancelReason.TIMEOUT)


def _make_up_for(runners: Iterable[Runner], since: float, until: float) -> None:
    """Give runs the time that they have lost while the event loop stood still, but for who has held it."""
    for runner in runners:
        if runner.deadline is not None and runner.held_loop < since:
            runner.give_more_time(until - since)
