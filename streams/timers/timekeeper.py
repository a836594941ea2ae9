"""The thread that keeps the time of delayed jobs: reads their topic, and has each go to its queue when it falls due."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress

from streams.ports.timers import Clock, LogUnreachable, PartitionListener, TimerChunk, TimerLog, Transactions
from streams.timers.owner import AGAIN_MS, PartitionOwner
from streams.timers.partition import PartitionTimers
from streams.timers.store import TimerStore
from streams.timers.store_folder import StoreFolder

logger = logging.getLogger(__name__)

#: The longest wait for something to happen, so that a stop is noticed. Seconds.
_LONGEST_WAIT = 0.5

#: Milliseconds before the same is said again.
_COMPLAIN_MS = 60_000

_NO_FILE = ". No file can be made for them: make room, or name another directory in STREAMS_DATA_DIR"


class Timekeeper:
    """Serves the partitions of the topic of delayed jobs that this worker is given, in a thread of its own.

    open_log  makes the log's reader, which tells the listener of partitions that come and go
    mark      tells this process's tombstones from others'
    fail      called, on the event loop, with what ends it: a fault of its own
    """

    def __init__(
        self,
        open_log: Callable[[PartitionListener], TimerLog],
        transactions: Transactions,
        stores: StoreFolder,
        *,
        namespace: str,
        mark: bytes,
        clock: Clock,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._open_log = open_log
        self._transactions = transactions
        self._stores = stores
        self._namespace = namespace
        self._mark = mark
        self._clock = clock
        self._fail = fail
        self._owners: dict[int, PartitionOwner] = {}
        #: Partitions that have no store yet, and when that is tried again; and when people are told again.
        self._unopened: dict[int, int] = {}
        self._complain_again: dict[int, int] = {}
        self._log: TimerLog | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; what ends it is told on the loop. Raises RuntimeError where the system has no thread."""
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="timekeeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Begin to stop: fire nothing more, and leave the group."""
        self._stopping.set()

    def ended(self, timeout: float) -> None:
        """Wait so many seconds at the most until it has stopped. Blocks."""
        if self._thread is not None:
            self._thread.join(timeout)

    # -- which partitions, within take() and close() -------------------------------------------------------------------

    def assigned(self, partition: int) -> int | None:
        """A partition is this worker's. Returns the offset from which it is to be read; None if it is not to be yet."""
        assert self._log is not None  # noqa: S101 - partitions come from it
        try:
            store = self._stores.open(self._log.id, partition)
        except (OSError, sqlite3.Error, LogUnreachable) as error:
            self._wait_for_store(partition, error)
            return None
        self._complain_again.pop(partition, None)
        self._unopened.pop(partition, None)
        return self._own(partition, store)

    def _wait_for_store(self, partition: int, error: Exception) -> None:
        """Try again later: meanwhile its jobs wait, in the log."""
        self._unopened[partition] = self._clock() + AGAIN_MS
        if self._clock() >= self._complain_again.get(partition, 0):
            self._complain_again[partition] = self._clock() + _COMPLAIN_MS
            remedy = "" if isinstance(error, LogUnreachable) else _NO_FILE
            logger.error("delayed jobs of partition %d wait: %s%s", partition, error, remedy)

    def _own(self, partition: int, store: TimerStore) -> int:
        timers = PartitionTimers(partition, store, namespace=self._namespace, mark=self._mark)
        self._owners[partition] = PartitionOwner(timers, self._transactions, self._end_of, self._clock)
        return timers.position

    def revoked(self, partition: int) -> None:
        """A partition is this worker's no longer."""
        self._unopened.pop(partition, None)
        owner = self._owners.pop(partition, None)
        if owner is not None:
            self._transactions.end(partition)
            owner.timers.store.close()

    def _end_of(self, partition: int) -> int:
        assert self._log is not None  # noqa: S101 - partitions come from it
        return self._log.end_of(partition)

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            log = self._log = self._open_log(self)
            try:
                wait = 0.0
                while not self._stopping.is_set():
                    wait = self._turn(log, wait)
            finally:
                log.close()
                self._stores.close()
        except BaseException as error:
            assert self._loop is not None  # noqa: S101 - it was started
            with suppress(RuntimeError):  # The loop is closed.
                self._loop.call_soon_threadsafe(self._fail, error)

    def _turn(self, log: TimerLog, wait: float) -> float:
        """Take what comes within so many seconds, and serve each partition. Returns how long nothing is to be done."""
        for chunk in log.take(wait):
            owner = self._owners.get(chunk.partition)
            if owner is None:
                continue
            if _is_another_log(chunk, owner.timers.position):
                self._read_anew(log, owner, "it is another log: its topic was made anew")
            else:
                owner.take(chunk)
        for partition, at in [*self._unopened.items()]:
            if self._clock() >= at and (offset := self.assigned(partition)) is not None:
                log.read_from(partition, offset)
        steps = [owner.step() for owner in [*self._owners.values()]]
        for owner in [*self._owners.values()]:
            if owner.damaged is not None:
                self._read_anew(log, owner, f"{owner.timers.store.file} cannot be used ({owner.damaged})")
        log.pause({*self._unopened, *(owner.number for owner in self._owners.values() if owner.full)})
        wanted = [at for at in (*steps, *self._unopened.values()) if at is not None]
        if not wanted:
            return _LONGEST_WAIT
        return min(_LONGEST_WAIT, max(0.0, (min(wanted) - self._clock()) / 1000))

    def _read_anew(self, log: TimerLog, owner: PartitionOwner, why: str) -> None:
        """Forget what was known of a log, and read it from its start."""
        logger.warning("delayed jobs of partition %d are read anew: %s", owner.number, why)
        self.revoked(owner.number)
        try:
            store = self._stores.discard(owner.timers.store)
        except (OSError, sqlite3.Error) as error:
            self._wait_for_store(owner.number, error)
        else:
            log.read_from(owner.number, self._own(owner.number, store))


def _is_another_log(chunk: TimerChunk, position: int) -> bool:
    """Whether a log is read from before where it had been read to: its topic was made anew."""
    if chunk.records and chunk.records[0].offset < position:
        return True
    return chunk.end is not None and chunk.end < position
