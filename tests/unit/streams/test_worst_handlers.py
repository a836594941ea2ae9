"""Handlers at their worst: nothing to say of their failure, and no ear for a stop."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest

from schemas.models.webhook import DeliverWebhook
from streams.api.context import JobContext
from streams.worker import executor as executor_module
from tests.unit.core.test_failure import OfNoClass, doubled
from tests.unit.streams.rig import P0, record, rig, turns, until

#: Long enough for any machine, short enough not to hang. Seconds.
SOON = 20.0

Nameless = type("", (Exception,), {})


async def raise_nameless(job: DeliverWebhook, ctx: JobContext) -> None:
    """Raise, if bad, what has neither a name nor a message."""
    if job.event == "bad":
        raise Nameless


def raise_nameless_in_thread(job: DeliverWebhook, ctx: JobContext) -> None:
    """Raise, if bad, what has neither a name nor a message."""
    if job.event == "bad":
        raise Nameless


@pytest.mark.parametrize("handler", [raise_nameless, raise_nameless_in_thread], ids=inspect.iscoroutinefunction)
async def test_an_exception_without_name_or_message(handler: object, caplog: pytest.LogCaptureFixture) -> None:
    async with rig(handler, concurrency=1) as it:  # type: ignore[arg-type]
        it.open(P0)
        it.take([record(0, "a", "bad"), record(1, "a")])
        await asyncio.wait_for(it.idle(), SOON)
        assert it.letters.header("job-origin") == ["jobs.webhook/0/0"]
        assert it.letters.header("job-error-message") == [
            "an exception without a name or a message (not retried: it may run once)"
        ]
        _, first_frame, line, *_ = it.letters.header("job-error-stack")[0].splitlines()
        assert Path(__file__).name in first_frame, "the worker's own frames help nobody"
        assert line.strip() == "raise Nameless"
    (said,) = [entry.getMessage() for entry in caplog.records if entry.name == "streams.outcome"]
    assert said.endswith("an exception without a name or a message (not retried: it may run once)")


@pytest.mark.parametrize("what", ["answers nothing", "is walked without end"])
@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_an_exception_that_nobody_can_look_at_ends_no_worker(what: str, kind: str) -> None:
    def fail(job: DeliverWebhook, ctx: JobContext) -> None:
        if job.event == "bad":
            raise OfNoClass if what == "answers nothing" else doubled(60)

    async def fail_async(job: DeliverWebhook, ctx: JobContext) -> None:
        fail(job, ctx)

    async with rig(fail_async if kind == "async" else fail, concurrency=1) as it:
        failures = it.failures
        it.open(P0)
        it.take([record(0, "a", "bad"), record(1, "a")])
        await asyncio.wait_for(it.idle(), SOON)
        assert it.letters.header("job-origin") == ["jobs.webhook/0/0"]
        assert not failures


class Deaf:
    """A handler that heeds no cancellation, or only the first, until the test ends."""

    def __init__(self, *, returns: bool) -> None:
        self.started: list[str] = []
        self._returns = returns
        self._over = asyncio.Event()

    async def __call__(self, job: DeliverWebhook, ctx: JobContext) -> None:
        self.started.append(job.event)
        while not self._over.is_set():
            try:
                await self._over.wait()
            except asyncio.CancelledError:
                if self._returns:
                    return

    async def __aenter__(self) -> Deaf:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await turns()


async def test_a_handler_that_swallows_its_cancellation_at_a_stop_and_returns(caplog: pytest.LogCaptureFixture) -> None:
    deaf = Deaf(returns=True)
    async with rig(deaf, concurrency=1) as it, deaf:
        it.open(P0)
        it.take([record(0, "a"), record(1, "a"), record(2, "b")])
        await until(lambda: it.executor.active)
        await asyncio.wait_for(it.executor.stop(), SOON)
        assert not caplog.records, "its runner has ended"
        assert deaf.started == ["0"], "nothing starts any more"
        assert it.assignment.pending == 2, "it has returned: it is done, and does not run again"
        assert not it.letters.sent


async def test_a_stop_leaves_a_handler_behind_that_heeds_no_cancellation(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "_GRACE", 0.1)
    deaf = Deaf(returns=False)
    async with rig(deaf) as it, deaf:
        it.open(P0)
        it.take([record(0, "a")])
        await until(lambda: it.executor.active)
        await asyncio.wait_for(it.executor.stop(), SOON)
        assert "1 jobs of queue webhook do not heed their cancellation; left behind" in caplog.text
        assert it.assignment.pending == 1
