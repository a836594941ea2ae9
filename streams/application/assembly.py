"""Puts a worker together: the only place that knows all its parts, and which of them are Kafka's and Faust's.

`assemble_worker` makes what runs jobs, on whatever writer and consumer it is given: tests give it others. `build_app`
makes the whole application.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import time_ns
from typing import Any

from uuid_utils import uuid7

from schemas.catalog import shipped
from schemas.codec import Codec
from schemas.limits import Limits
from schemas.registry import Registry
from streams.aio.blocking_calls import REGISTRY
from streams.aio.first_error import FirstError
from streams.api.discovery import load_queues
from streams.api.queue import HandlerKind, Queue
from streams.application.faust_app import JobsApp
from streams.application.health import add_health
from streams.errors import SetupError
from streams.kafka.admin.topics import ensure_topics, restore_topic
from streams.kafka.consumer.faust_consumer import Transport, Wiring
from streams.kafka.consumer.requests import ConsumerRequests
from streams.kafka.producer.sender import ReliableSender
from streams.kafka.retry_topic.reader import RetryTopicReader
from streams.kafka.timers.group_log import GroupLog
from streams.kafka.timers.transactions import KafkaTransactions
from streams.logs.job_lines import DoneLines, FailureLines
from streams.ports.events import JobEvents, JobListener
from streams.ports.group import GroupRequests
from streams.ports.writer import RecordWriter
from streams.settings import Settings
from streams.settings.environment import check_shipped_jobs, read_settings, warn_of_foreign, warn_of_unknown
from streams.timers.store_folder import StoreFolder
from streams.timers.timekeeper import Timekeeper
from streams.worker.admission.lease import GroupLease
from streams.worker.admission.quarantine import Quarantine
from streams.worker.assignment import Assignment
from streams.worker.backpressure import Backpressure
from streams.worker.executor import ExecutorReports, QueueExecutor
from streams.worker.handlers.calls import HandlerTable
from streams.worker.handlers.processes import ProcessRunner
from streams.worker.handlers.threads import ThreadRunner
from streams.worker.outcomes.follow_ups import FollowUpPublisher
from streams.worker.outcomes.pending_writes import PendingWrites
from streams.worker.service import WorkerService
from streams.worker.upkeep.misplaced_keys import MisplacedKeys


@dataclass(frozen=True)
class WorkerParts:
    """What runs jobs, and what of it others deal with: the consumer with its assignment and lease, tests with the rest.

    threads  by the name of the queue
    """

    service: WorkerService
    assignment: Assignment
    lease: GroupLease
    quarantine: Quarantine
    threads: Mapping[str, ThreadRunner]


def assemble_worker(
    settings: Settings,
    queues: Sequence[Queue],
    codec: Codec,
    *,
    writer: RecordWriter,
    requests: GroupRequests,
    processes: ProcessRunner,
    fail: Callable[[BaseException], None],
    listeners: Iterable[JobListener] = (),
) -> WorkerParts:
    """Make what runs the jobs of some queues. Nothing starts before its service does.

    writer     of retries, dead letters and follow-up jobs
    requests   the consumer, as far as it is asked for anything
    fail       called with what ends the worker
    listeners  hear of events, beside those that log them
    """
    lines = [FailureLines(), DoneLines()] if settings.log_jobs else [FailureLines()]
    events = JobEvents([*lines, *listeners])
    lease, quarantine = GroupLease(settings.session_timeout), Quarantine(requests)
    follow_ups = FollowUpPublisher(writer, codec, settings)
    threads = {queue.name: ThreadRunner(queue.name) for queue in queues}
    topics = {settings.topic(queue.name): queue.partitions for queue in queues}
    backpressure = _backpressure(requests, topics, settings)

    def executor(queue: Queue, reports: ExecutorReports) -> QueueExecutor:
        return QueueExecutor(
            HandlerTable(queue, codec, threads[queue.name], processes),
            follow_ups,
            PendingWrites(writer, queue.name, fail),
            concurrency=_concurrency(queue, settings),
            schema_wait=settings.schema_wait,
            lease=lease,
            quarantine=quarantine,
            processes=processes if queue.cpu_bound else None,
            events=events,
            reports=reports,
            hungry=partial(backpressure.hungry, settings.topic(queue.name)),
            fail=fail,
        )

    def executors(reports: ExecutorReports) -> dict[str, QueueExecutor]:
        return {settings.topic(queue.name): executor(queue, reports) for queue in queues}

    assignment = Assignment(
        executors, quarantine, requests, backpressure, events, retry_hold=settings.retry_hold, replaced=writer.renew
    )
    misplaced = MisplacedKeys(topics, writer.partitions)
    service = WorkerService(
        assignment,
        codec=codec,
        writer=writer,
        events=events,
        misplaced=misplaced,
        threads=[*threads.values()],
        processes=processes,
        fail=fail,
    )
    return WorkerParts(service, assignment, lease, quarantine, threads)


def _backpressure(requests: GroupRequests, topics: Iterable[str], settings: Settings) -> Backpressure:
    return Backpressure(
        requests,
        topics,
        limit_jobs=settings.buffer_jobs,
        limit_bytes=settings.buffer_bytes,
        parked_jobs=settings.parked_jobs,
        parked_bytes=settings.parked_bytes,
    )


def build_app(settings: Settings | None = None) -> JobsApp:
    """Build the worker's application from the environment; raises SetupError and whatever a job module raises."""
    settings = settings or read_settings()
    queues = _load_queues(settings)
    served = [queue for queue in queues if queue.pool == settings.pool]
    codec, failure, requests = _codec(queues, settings.limits), FirstError(), ConsumerRequests()
    writer = ReliableSender(
        settings.cluster,
        batch_bytes=settings.producer.message_max_bytes,
        restore_topic=partial(restore_topic, settings, served),
    )
    worker = assemble_worker(
        settings, served, codec,
        writer=writer, requests=requests, processes=_processes(settings, served), fail=failure.report,
    )  # fmt: skip
    timekeeper = _timekeeper(settings, failure)
    unfit = "" if served else _nothing_served(queues, settings.pool)
    app = JobsApp(settings, served, codec, worker.service, failure, timekeeper=timekeeper, unfit=unfit)
    logs = RetryTopicReader(settings.cluster, partial(ensure_topics, settings, served))
    most = max((_concurrency(queue, settings) for queue in served), default=1)
    wiring = Wiring(settings, worker.assignment, requests, logs, worker.lease, worker.service.cancel_running, most)
    app.transport = Transport(app.conf.broker_consumer, app, wiring)
    for queue in served:
        _add_agent(app, queue, worker.service)
    if settings.web_port is not None:
        add_health(app, worker.assignment)
    return app


def _timekeeper(settings: Settings, failure: FirstError) -> Timekeeper:
    topic = settings.scheduled_topic
    return Timekeeper(
        partial(
            GroupLog,
            settings.cluster,
            group=settings.time_group,
            topic=topic,
            session_timeout=settings.session_timeout,
        ),
        KafkaTransactions(settings.cluster, topic),
        StoreFolder(None if settings.data_dir is None else settings.data_dir / "timers", _now_ms),
        namespace=settings.namespace,
        mark=str(uuid7()).encode(),
        clock=_now_ms,
        fail=failure.report,
    )


def _now_ms() -> int:
    return time_ns() // 1_000_000


def _load_queues(settings: Settings) -> list[Queue]:
    if (here := str(Path.cwd())) not in sys.path:
        # Job modules are looked for where the worker was started, as `faust -A` itself does.
        sys.path.insert(0, here)
    try:
        queues = load_queues(settings.job_packages)
    finally:
        warn_of_unknown(os.environ, settings)
        warn_of_foreign(os.environ)
    check_shipped_jobs(settings)
    return queues


def _nothing_served(queues: list[Queue], pool: str) -> str:
    pools = ", ".join(sorted({queue.pool for queue in queues})) or "none"
    return (
        f"no queue belongs to pool {pool!r}; pools with queues: {pools}. Set STREAMS_POOL to one of them, name the"
        f" package of your queues in STREAMS_JOBS, or declare a queue of this pool: Queue(…, pool={pool!r})"
    )


def _codec(queues: list[Queue], limits: Limits) -> Codec:
    catalog = shipped()
    for queue in queues:
        for job in queue:
            catalog.add_model(job.model)
    try:
        return Codec(catalog, Registry.from_environment(), run_blocking=REGISTRY.run, limits=limits)
    except ValueError as error:
        raise SetupError(
            f"no schema registry can be reached with these SCHEMA_REGISTRY_* variables: {error}"
        ) from error


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


def _add_agent(app: JobsApp, queue: Queue, service: WorkerService) -> None:
    """Have Faust hand the batches of a queue to the worker: its consumer puts each into the agent's channel."""
    topic = app.topic(app.settings.topic(queue.name), key_type=bytes, value_type=bytes)

    async def consume(stream: Any) -> None:
        events: AsyncIterator[Any] = stream.noack().events()
        async for event in events:
            service.take(event.value)

    app.agent(topic, name=f"{app.settings.namespace}.{queue.name}", concurrency=1)(consume)
