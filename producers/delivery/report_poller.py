"""Look for delivery reports where publishing itself does not: on an event loop, and in a thread."""

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from producers.delivery.kafka_client import KafkaClient

_LOGGER = logging.getLogger("producers")
_SHORTEST = 0.001  # seconds between two looks
_LONGEST = 0.02
# Seconds in which a broker nearby has answered. Who awaits that is told at once: the loop has no timer so short.
_NEARBY = 0.0015

# So many wait at the most where each report is looked for at once; more are told together, and publish together.
_FEW = 8

# Where processors are few, whoever looks without a pause keeps the client's own threads, or the broker, from running.
_let_others_run: Callable[[], None] = getattr(os, "sched_yield", lambda: None)
_SECONDS_BETWEEN_VISITS = 0.5  # of the thread


class Awaited(Protocol):
    """A job whose outcome somebody waits for."""

    def settle_lost(self) -> None:
        """Settle it: its report will never come."""


class ReportPoller:
    """Hands out reports while jobs are under way, and rests when none is. Belongs to one event loop.

    A look costs microseconds, where a thread that polls would fight over the interpreter's lock for every report. Where
    reports come within a millisecond of being awaited by a few, each turn of the loop looks for the next ones.
    """

    def __init__(
        self, client: KafkaClient, loop: asyncio.AbstractEventLoop, on_look: Callable[[], None] = lambda: None
    ) -> None:
        self._client = client
        self._loop = loop
        self._on_look = on_look
        self._running = False
        self._pause = _SHORTEST
        self._next_look: asyncio.Handle | None = None
        self._is_nearby = True
        self._looking: list[asyncio.Future[None]] = []
        # By what is awaited: the job, and since when; the longest first.
        self._expected: dict[asyncio.Future[None], tuple[Awaited, float]] = {}

    def start(self) -> None:
        """Look for reports until no job is under way; called after each job, so it is cheap when already running."""
        if not self._running:
            self._running = True
            self._pause = _SHORTEST
            self._look_again()

    async def look(self) -> None:
        """Wait until the next look for reports is over."""
        future = self._loop.create_future()
        self._looking.append(future)
        self.start()
        await future

    def expect(self, job: Awaited) -> "asyncio.Future[None]":
        """Return a future for whoever brings the job's report, which is settled as lost where nobody ever will.

        Who has awaited it calls `forget` with it.
        """
        future = self._loop.create_future()
        self._expected[future] = job, self._loop.time()
        if self._running and self._is_nearby and len(self._expected) == 1:
            self._look_again()
        self.start()
        return future

    def forget(self, future: "asyncio.Future[None]") -> None:
        """Expect nothing for a future any more."""
        _, since = self._expected.pop(future)
        if future.done() and not future.cancelled():
            self._is_nearby = self._loop.time() - since < _NEARBY

    def _look(self) -> None:
        self._on_look()
        try:
            if self._client.poll(0):
                self._pause = _SHORTEST
        except Exception:
            _LOGGER.exception("handing out the reports of published jobs has failed, and goes on")
        finally:
            self._go_on()

    def _go_on(self) -> None:
        looking, self._looking = self._looking, []
        for future in looking:
            if not future.done():
                future.set_result(None)
        under_way = self._client.pending()
        if not under_way:
            for job, _ in list(self._expected.values()):
                job.settle_lost()  # Nothing is under way, so nothing comes: does nothing to those that are settled.
        self._running = bool(looking or under_way)
        if self._running:
            self._look_again()

    def _may_come_at_once(self) -> bool:
        if not (self._is_nearby and 0 < len(self._expected) <= _FEW):
            return False
        _, since = next(iter(self._expected.values()))
        return self._loop.time() - since < _NEARBY

    def _look_again(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        if self._may_come_at_once():
            _let_others_run()
            self._next_look = self._loop.call_soon(self._look)
        else:
            self._next_look = self._loop.call_later(self._pause, self._look)
            # It grows while nothing happens, so that an absent broker costs nothing.
            self._pause = min(self._pause * 1.5, _LONGEST)


def poll_while_idle(client: KafkaClient) -> None:
    """Hand out the reports of a client that nobody else polls, and let its connections go once it is closed."""
    client.look_after(begun=True)
    try:
        threading.Thread(target=_visit, args=(weakref.ref(client),), name="kafka-jobs-reports", daemon=True).start()
    except RuntimeError:  # No thread is to be had. The job is published; the next one tries again.
        client.look_after(begun=False)


def _visit(reference: "weakref.ref[KafkaClient]") -> None:
    """Visit a client until it is closed and holds nothing more.

    A busy one is left alone: its publisher polls, and another thread would only fight over the interpreter's lock.
    """
    pause = threading.Event()
    offered = -1
    while not pause.wait(_SECONDS_BETWEEN_VISITS):
        client = reference()
        if client is None or client.let_go():
            return
        if client.offered == offered:
            try:
                client.poll(0)
            except Exception:
                with suppress(Exception):  # The log may be what fails.
                    _LOGGER.exception("handing out the reports of published jobs has failed, and goes on")
        offered = client.offered
        del client
