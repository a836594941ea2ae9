"""Puts the parts of a worker together: executors for its queues, the assignment, what writes outcomes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from time import monotonic, time

from schemas.codec import Codec
from streams.api.queue import HandlerKind, Queue
from streams.kafka.admin.topics import restore_topic
from streams.kafka.producer.sender import ReliableSender
from streams.ports.records import Batch, Record
from streams.settings import Settings
from streams.worker.admission.lease import GroupLease
from streams.worker.admission.quarantine import Quarantine
from streams.worker.assignment import Assignment
from streams.worker.executor import Executor
from streams.worker.garbage_sweep import collect_young
from streams.worker.handlers.calls import HandlerTable
from streams.worker.handlers.processes import ProcessRunner
from streams.worker.handlers.threads import ThreadRunner
from streams.worker.handlers.writer_schemas import await_schema
from streams.worker.loop_watch import LoopWatch
from streams.worker.misplaced_keys import MisplacedKeys
from streams.worker.outcomes.follow_ups import FollowUpPublisher
from streams.worker.outcomes.pending_writes import PendingWrites
from streams.worker.runner import Runner

logger = logging.getLogger(__name__)

#: How late a retry may start on an idle machine. Seconds.
_TICK = 0.025

#: How often the garbage of recent runs is looked for, beside the interpreter's rare collections. Seconds.
_SWEEP = 1.0

#: How often unchanged commits are made again. A broker may be set to forget them after a day. Seconds.
_REFRESH = 3600.0


class Engine:
    """Everything a worker runs on its event loop, apart from the consumer. Nothing starts before `start`."""

    def __init__(self, settings: Settings, queues: Iterable[Queue], codec: Codec) -> None:
        self.settings = settings
        self.queues = list(queues)
        self.codec = codec
        self.lease = GroupLease(settings.session_timeout)
        self._processes = _processes(settings, self.queues)
        self._threads = {queue.name: ThreadRunner(queue.name) for queue in self.queues}
        self._sender = ReliableSender(
            settings.cluster,
            batch_bytes=settings.producer.message_max_bytes,
            restore_topic=partial(restore_topic, settings, self.queues),
        )
        self.quarantine = Quarantine()
        outcomes = FollowUpPublisher(self._sender, codec, settings)
        self._executors = {settings.topic(queue.name): self._executor(queue, outcomes) for queue in self.queues}
        self.assignment = Assignment(
            self._executors, self.quarantine, limit_jobs=settings.buffer_jobs, limit_bytes=settings.buffer_bytes
        )
        self._loop_watch = LoopWatch(self._runners)
        topics = {settings.topic(queue.name): queue.partitions for queue in self.queues}
        self._misplaced = MisplacedKeys(topics, self._sender.partitions)
        self._on_failure: Callable[[BaseException], None] = lambda error: None
        self._watches: list[asyncio.Task[None]] = []
        self._waits: set[asyncio.Task[None]] = set()

    def _executor(self, queue: Queue, outcomes: FollowUpPublisher) -> Executor:
        handling = HandlerTable(queue, self.codec, self._threads[queue.name], self._processes)
        concurrency = _concurrency(queue, self.settings)
        return Executor(
            handling,
            outcomes,
            PendingWrites(self._sender, queue.name, self._fail),
            self.quarantine,
            concurrency=concurrency,
            report_all=self.settings.log_jobs,
            schema_wait=self.settings.schema_wait,
            lease=self.lease,
            share=self._processes.share(handling.in_process, concurrency) if queue.cpu_bound else None,
        )

    def start(self, on_failure: Callable[[BaseException], None]) -> None:
        """Watch over the running jobs; `on_failure` is called when the worker cannot go on."""
        self._on_failure = on_failure
        self._sender.warm_up()
        self._loop_watch.start()
        for executor in self._executors.values():
            executor.on_failure = on_failure
        self._watches = [asyncio.ensure_future(executor.watch()) for executor in self._executors.values()]
        self._watches.append(asyncio.ensure_future(self._tell_time()))
        for watch in self._watches:
            watch.add_done_callback(self._see_end)

    def _fail(self, error: BaseException) -> None:
        self._on_failure(error)

    def _runners(self) -> Iterable[Runner]:
        return chain.from_iterable(executor.runners for executor in self._executors.values())

    async def _tell_time(self) -> None:
        """Do what is due: retries, above all."""
        fresh_until, swept_until = monotonic() + _REFRESH, 0.0
        while True:
            await asyncio.sleep(_TICK)
            self._loop_watch.beat()
            self.assignment.tick(int(time() * 1000))
            if monotonic() > swept_until:
                swept_until = monotonic() + _SWEEP
                collect_young()
            if monotonic() > fresh_until:
                fresh_until = monotonic() + _REFRESH
                self.assignment.refresh()

    def take(self, batch: Batch) -> None:
        """Take a fetched batch in, as soon as the schemas of its records are at hand.

        Its partition waits for them and no other does: nothing more of it is fetched before it is taken.
        """
        self._misplaced.look(batch)
        missing = set() if self.codec.registry is None else self._missing_schemas(batch.records)
        if not missing:
            self.assignment.take(batch)
            return
        wait = asyncio.ensure_future(self._take_with(missing, batch))
        self._waits.add(wait)
        wait.add_done_callback(self._waited)

    def _waited(self, wait: asyncio.Task[None]) -> None:
        self._waits.discard(wait)
        self._see_end(wait)

    def _see_end(self, task: asyncio.Task[None]) -> None:
        """A task of ours that has failed ends the worker: what it was for would be missed without a word."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.critical("a task of the worker has failed: the worker stops", exc_info=error)
            self._on_failure(error)

    def _missing_schemas(self, records: Iterable[Record]) -> set[int]:
        ids = {self.codec.missing_schema_id(record.value) for record in records}
        return {number for number in ids if number is not None}

    async def _take_with(self, schema_ids: Iterable[int], batch: Batch) -> None:
        who = "intake of {}-{}".format(*batch.tp)
        for schema_id in schema_ids:
            await await_schema(self.codec, schema_id, who, wanted=lambda: batch.epoch == self.assignment.epoch)
        self.assignment.take(batch)

    async def cancel_running(self) -> None:
        """Cancel the jobs that still run."""
        await asyncio.gather(*(executor.stop() for executor in self._executors.values()))

    async def stop(self) -> None:
        """Let go of everything."""
        self._loop_watch.stop()
        for task in (*self._watches, *self._waits):
            task.cancel()
        self._misplaced.close()
        await self.cancel_running()
        for threads in self._threads.values():
            threads.close()
        await self._processes.close()
        await self._sender.close()


def _processes(settings: Settings, queues: Iterable[Queue]) -> ProcessRunner:
    handlers = (job.handler for queue in queues for job in queue if job.kind is HandlerKind.PROCESS)
    modules = dict.fromkeys(handler.__module__ for handler in handlers)
    memory = settings.process_max_memory
    return ProcessRunner(settings.processes, modules=modules, jobs=settings.process_max_jobs, memory=memory)


def _concurrency(queue: Queue, settings: Settings) -> int:
    if queue.concurrency is not None:
        return queue.concurrency
    # More runners than processes would only wait, and hold jobs that another worker could run.
    return settings.processes if queue.cpu_bound else settings.concurrency
