"""The fetch loop: what has been fetched goes from the consumer's thread to the worker's loop.

A job that is published alone waits for every turn of either loop, so there are few: what comes is taken before the next
fetch is asked for, and one call hands it over. It knows the inside of aiokafka's fetcher.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import Event
from typing import Any, NamedTuple

from aiokafka.errors import ConsumerStoppedError, KafkaError

from streams.kafka.consumer.fetch_set import FetchSet
from streams.kafka.errors import RETRY_AFTER
from streams.kafka.fetch.decoding import Demand
from streams.ports.records import Span

logger = logging.getLogger(__name__)

#: How often a loop that nothing wakes looks for what has become of its group. Seconds.
_LOOK_EVERY = 1.0

#: How long the thread does nothing else when it has handed over a few records, until they are taken. Seconds.
_COURTESY, _FEW = 0.002, 16


class Fetched(NamedTuple):
    """What one fetch has brought."""

    #: Records by their partitions.
    records: Mapping[Any, list[Any]]
    #: Spans of offsets that hold no job.
    passed: dict[Any, Span]
    #: The partitions that were asked for: see `FetchSet.asks_for`.
    asked: set[Any]


class FetchLoop:
    """Takes what has been fetched, in the consumer's thread, and hands it to the worker's loop.

    One thing at a time: a worker that comes late for it is not given more to hold meanwhile.

    consumer     aiokafka's
    demand       what a fetch asks for, as its decoder knows it
    asked        the partitions to fetch
    may_fetch    whether the worker takes anything; `wake` tells when it does again
    worker_loop  its loop, on which records are received
    """

    def __init__(
        self,
        consumer: Any,
        demand: Demand,
        asked: FetchSet,
        *,
        may_fetch: Callable[[], bool],
        worker_loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._consumer = consumer
        self._demand = demand
        self._asked = asked
        self._may_fetch = may_fetch
        self._worker_loop = worker_loop
        self._loop = asyncio.get_running_loop()
        #: Set when there may be something to hand over.
        self._news = asyncio.Event()
        self._is_handing_over = False
        #: Set by the worker's loop when it has taken what was handed over; and whether the thread waits for that.
        self._received = Event()
        self._is_waiting = False
        self._fault: Exception | None = None

    async def run(self, receive: Callable[[Fetched], None], read_to: dict[Any, int]) -> None:
        """Hand over what comes, until the consumer is closed. Raises what `receive` raises.

        receive  called on the worker's loop
        read_to  behind the last offset that was handed out of each partition; it is kept here
        """
        while self._fault is None:
            try:
                self._check()
                if self._may_fetch() and not self._is_handing_over:
                    fetched = await self._fetch(self._asked.partitions, read_to)
                    if fetched.records or fetched.passed:
                        self._hand_over(receive, fetched)
            except ConsumerStoppedError:
                return
            except KafkaError as error:
                logger.error("fetching failed: %r; trying again in %g s", error, RETRY_AFTER)
                await asyncio.sleep(RETRY_AFTER)
                continue
            await self._await_news()
        raise self._fault

    def _hand_over(self, receive: Callable[[Fetched], None], fetched: Fetched) -> None:
        self._is_handing_over = True
        self._received.clear()
        self._worker_loop.call_soon_threadsafe(self._receive, receive, fetched)
        if sum(map(len, fetched.records.values())) <= _FEW:
            # To ask for the next fetch would keep the interpreter from the worker's thread, which wakes up just now.
            self._is_waiting = True
            self._received.wait(_COURTESY)
            self._is_waiting = False
            if self._consumer._fetcher._records:
                self.look()

    async def _await_news(self) -> None:
        look = self._loop.call_later(_LOOK_EVERY, self.look)
        await self._news.wait()
        look.cancel()
        self._news.clear()

    def look(self) -> None:
        """Have it look again. Called in its own thread."""
        self._news.set()

    def wake(self) -> None:
        """Have it look again. May be called from any thread."""
        with suppress(RuntimeError):  # The thread has stopped.
            self._loop.call_soon_threadsafe(self.look)

    def _receive(self, receive: Callable[[Fetched], None], fetched: Fetched) -> None:
        try:
            receive(fetched)
        except Exception as error:
            self._fault = error
        # The agent takes it in the next turn, and a job of it starts in the one after that.
        self._worker_loop.call_soon(self._worker_loop.call_soon, self._note_received)

    def _note_received(self) -> None:
        self._is_handing_over = False
        self._received.set()
        if not self._is_waiting:
            self.wake()

    def _check(self) -> None:
        """Raise what the consumer has come to. It joins its group again only once that was asked for."""
        if self._consumer._closed or self._consumer._fetcher._closed:
            raise ConsumerStoppedError
        self._consumer._coordinator.check_errors()

    async def _fetch(self, partitions: set[Any], read_to: dict[Any, int]) -> Fetched:
        """Take records of some partitions that are there."""
        fetcher = self._consumer._fetcher
        self._demand.renew(partitions)
        with fetcher._subscriptions.fetch_context():
            records: dict[Any, list[Any]] = await fetcher.fetched_records(partitions)
        assignment = self._consumer._subscription.subscription.assignment
        return Fetched(records, _passed(assignment, records, partitions, read_to), partitions)


def _passed(
    assignment: Any, records: Mapping[Any, list[Any]], partitions: Iterable[Any], read_to: dict[Any, int]
) -> dict[Any, Span]:
    """Note what was read. Returns where the fetcher has come upon what are no jobs behind these records: markers of
    transactions, records of those that were aborted, and what was compacted or has left the log."""
    passed = {}
    for tp, taken in records.items():
        read_to[tp] = taken[-1].offset + 1
    # Taken in one step: the worker's loop opens and closes partitions meanwhile.
    for tp in tuple(partitions):
        last = read_to.get(tp)
        if last is None or (position := _position(assignment, tp)) <= last:
            continue
        passed[tp] = Span(last, position)
        read_to[tp] = position
    return passed


def _position(assignment: Any, tp: Any) -> int:
    """Where a partition is fetched next; -1 where that is not known."""
    state = assignment.state_value(tp) if tp in assignment.tps else None
    return state.position if state is not None and state.has_valid_position else -1
