"""Watches the logs that a worker reads: for topics that are deleted or made anew, and for open transactions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import NoReturn, Protocol

from aiokafka.errors import KafkaError

from streams.kafka.admin.open_transactions import HeldBackPartitions, OpenTransaction, log_open_transaction
from streams.ports.records import TopicPartition

logger = logging.getLogger(__name__)

#: How often the ids of topics are looked at. Seconds.
_LOOK_AFTER = 1.0


class WatchedLogs(Protocol):
    """The logs that are read and written: the worker's assignment."""

    @property
    def epoch(self) -> int: ...
    def logs(self) -> set[str]: ...
    def check(self, ids: Mapping[str, str | None]) -> None: ...


class Brokers(Protocol):
    """What brokers are asked. Raises KafkaError."""

    async def ids(self, topics: Collection[str]) -> Mapping[str, str | None]: ...
    async def held_back(self) -> Mapping[TopicPartition, int]: ...
    async def transactions(self, tp: TopicPartition) -> Sequence[OpenTransaction]: ...


class LogWatch:
    """Looks at the logs once a second, and when a broker misses one. The consumer runs it.

    may_look  whether the partitions are this worker's just now, and are read
    """

    def __init__(self, logs: WatchedLogs, brokers: Brokers, may_look: Callable[[], bool]) -> None:
        self._logs = logs
        self._brokers = brokers
        self._may_look = may_look
        self._wanted = asyncio.Event()
        self._held_back = HeldBackPartitions()

    def look_soon(self) -> None:
        """Look now, as a broker has refused a log. Called on the worker's loop."""
        self._wanted.set()

    async def run(self) -> NoReturn:
        """Look until it is cancelled."""
        while True:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), _LOOK_AFTER)
            self._wanted.clear()
            if self._may_look():
                await self._compare_ids()
                await self._see_transactions()

    async def _compare_ids(self) -> None:
        epoch = self._logs.epoch
        try:
            ids = await self._brokers.ids(self._logs.logs())
        except KafkaError as error:
            logger.debug("no broker tells the ids of topics: %r", error)
            return
        if epoch == self._logs.epoch:
            self._logs.check(ids)

    async def _see_transactions(self) -> None:
        """Log which transactions hold partitions up."""
        try:
            for tp, offset in self._held_back.note(await self._brokers.held_back(), monotonic()):
                log_open_transaction(tp, offset, await self._brokers.transactions(tp))
        except KafkaError as error:
            logger.debug("no broker tells of open transactions: %r", error)
