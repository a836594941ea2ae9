"""What a worker does while it runs: takes fetched batches in, keeps time, and lets go of everything at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from time import monotonic, time

from schemas.codec import Codec
from streams.ports.events import JobEvents
from streams.ports.records import Batch, Record, WorkPartition
from streams.ports.writer import RecordWriter
from streams.worker.assignment import Assignment
from streams.worker.handlers.processes import ProcessRunner
from streams.worker.handlers.threads import ThreadRunner
from streams.worker.handlers.writer_schemas import await_schema
from streams.worker.runner import Runner
from streams.worker.upkeep.garbage_sweep import collect_young
from streams.worker.upkeep.loop_watch import LoopWatch
from streams.worker.upkeep.misplaced_keys import MisplacedKeys
from streams.worker.upkeep.timeouts import cancel_overdue

logger = logging.getLogger(__name__)

#: How late a retry may start on an idle machine. Seconds.
_TICK = 0.025

#: How often the garbage of recent runs is looked for, beside the interpreter's rare collections. Seconds.
_SWEEP = 1.0

#: How often unchanged commits are made again. A broker may be set to forget them after a day. Seconds.
_REFRESH = 3600.0


class WorkerService:
    """Everything a worker runs on its event loop, apart from the consumer. Nothing starts before `start`.

    fail  called when the worker cannot go on
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        codec: Codec,
        writer: RecordWriter,
        events: JobEvents,
        misplaced: MisplacedKeys,
        threads: Sequence[ThreadRunner],
        processes: ProcessRunner,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._assignment = assignment
        self._codec = codec
        self._writer = writer
        self._events = events
        self._misplaced = misplaced
        self._threads = threads
        self._processes = processes
        self._fail = fail
        self._loop_watch = LoopWatch(self.runners)
        self._watches: list[asyncio.Task[None]] = []
        self._waits: set[asyncio.Task[None]] = set()
        self._refresh_at, self._sweep_at = monotonic() + _REFRESH, 0.0

    def start(self) -> None:
        """Get ready to write, keep time, and watch over the running jobs."""
        self._writer.warm_up()
        self._loop_watch.start()
        self._watches = [asyncio.ensure_future(cancel_overdue(self.runners)), asyncio.ensure_future(self._keep_time())]
        for watch in self._watches:
            watch.add_done_callback(self._see_end)

    def runners(self) -> Iterable[Runner]:
        """All runners of all queues. May be called from any thread."""
        return chain.from_iterable(executor.runners for executor in self._assignment.executors.values())

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._loop_watch.beat()
            self.tick(monotonic(), int(time() * 1000))

    def tick(self, now: float, now_ms: int) -> None:
        """Do what is due: retries, above all. `now` is monotonic, `now_ms` are epoch milliseconds."""
        self._assignment.tick(now_ms)
        if self._events.tick is not None:
            self._events.tick(now)
        if now > self._sweep_at:
            self._sweep_at = now + _SWEEP
            collect_young()
        if now > self._refresh_at:
            self._refresh_at = now + _REFRESH
            self._assignment.refresh()

    def take(self, batch: Batch) -> None:
        """Take a fetched batch in, as soon as the schemas of its records are at hand.

        Its partition waits for them and no other does: nothing more of it is fetched before it is taken. A batch that
        cannot be taken ends the worker.
        """
        try:
            self._misplaced.look(batch)
            missing = set() if self._codec.registry is None else self._missing_schemas(batch.records)
            if missing:
                self._take_later(missing, batch)
            else:
                self._assignment.take(batch)
        except Exception as error:
            logger.critical("a batch of %s could not be taken in: the worker stops", batch.tp, exc_info=error)
            self._fail(error)

    def _missing_schemas(self, records: Iterable[Record]) -> set[int]:
        ids = {self._codec.missing_schema_id(record.value) for record in records}
        return {number for number in ids if number is not None}

    def _take_later(self, missing: Iterable[int], batch: Batch) -> None:
        wait = asyncio.ensure_future(self._take_with(missing, batch, self._assignment.partition(batch.tp)))
        self._waits.add(wait)
        wait.add_done_callback(self._waits.discard)
        wait.add_done_callback(self._see_end)

    async def _take_with(self, schema_ids: Iterable[int], batch: Batch, partition: WorkPartition | None) -> None:
        who = "intake of {}-{}".format(*batch.tp)

        def wanted() -> bool:
            # One whose log was made anew is another partition, which is fetched from its own start.
            return batch.epoch == self._assignment.epoch and self._assignment.partition(batch.tp) is partition

        for schema_id in schema_ids:
            await await_schema(self._codec, schema_id, who, wanted=wanted)
        if wanted():
            self._assignment.take(batch)

    def _see_end(self, task: asyncio.Task[None]) -> None:
        """A task of ours that has failed ends the worker: what it was for would be missed without a word."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.critical("a task of the worker has failed: the worker stops", exc_info=error)
            self._fail(error)

    async def cancel_running(self) -> None:
        """Cancel the jobs that still run."""
        await asyncio.gather(*(executor.stop() for executor in self._assignment.executors.values()))

    async def stop(self) -> None:
        """Let go of everything."""
        self._loop_watch.stop()
        for task in (*self._watches, *self._waits):
            task.cancel()
        self._misplaced.close()
        await self.cancel_running()
        for threads in self._threads:
            threads.close()
        await self._processes.close()
        await self._writer.close()
