"""A worker with one queue on a real event loop, without a broker: what would be written is kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, Literal

from schemas.catalog import shipped
from schemas.codec import Codec
from schemas.headers import Headers
from schemas.models.webhook import DeliverWebhook
from streams.api.queue import Queue
from streams.application.assembly import WorkerParts, assemble_worker
from streams.core.retry.policy import NO_RETRY, RetryPolicy
from streams.ports.events import JobListener
from streams.ports.group import GroupRequests
from streams.ports.records import Anew, Batch, OutgoingRecord, PartitionStart, TopicPartition
from streams.ports.writer import Append, OnAppended
from streams.settings import Settings
from streams.worker.admission.lease import GroupLease
from streams.worker.admission.quarantine import Quarantine
from streams.worker.assignment import Assignment
from streams.worker.executor import QueueExecutor
from streams.worker.handlers.processes import ProcessRunner
from streams.worker.handlers.threads import ThreadRunner
from streams.worker.service import WorkerService
from streams.worker.upkeep.timeouts import cancel_overdue

TOPIC = "jobs.webhook"
P0, P1, P2 = (TopicPartition(TOPIC, number) for number in range(3))


@dataclass(frozen=True)
class Fetched:
    """A record as the consumer delivers it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int = 0


class Letters:
    """A RecordWriter that keeps what is sent, at offsets from 0 on in each partition.

    While `open` is not set the broker takes nothing.
    """

    def __init__(self) -> None:
        self.sent: list[OutgoingRecord] = []
        #: Topics of which it was told that they were made anew.
        self.renewed: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        #: Where the logs end.
        self.ends: Counter[tuple[str, int | None]] = Counter()

    def append(self, record: OutgoingRecord, done: OnAppended, *, needs_offset: bool) -> Append:
        del needs_offset

        def tell(task: asyncio.Task[int]) -> None:
            if not task.cancelled():
                done(None, task.result())

        task = asyncio.ensure_future(self._keep(record))
        task.add_done_callback(tell)
        return _Kept(task, tell)

    async def send(self, record: OutgoingRecord) -> None:
        await self._keep(record)

    async def _keep(self, record: OutgoingRecord) -> int:
        await self.open.wait()
        self.sent.append(record)
        log = record.topic, record.partition
        self.ends[log] += 1
        return self.ends[log] - 1

    async def partitions(self, topic: str) -> int | None:
        del topic
        return None

    def renew(self, topic: str) -> None:
        self.renewed.append(topic)

    def warm_up(self) -> None:
        """Nothing is to be opened."""

    async def close(self) -> None:
        """Nothing is open."""

    def to(self, topic: str) -> list[OutgoingRecord]:
        """What was sent to a topic."""
        return [record for record in self.sent if record.topic == topic]

    def header(self, name: str) -> list[str]:
        """A header of all that was sent."""
        return [dict(record.headers)[name].decode() for record in self.sent]


@dataclass(frozen=True)
class _Kept:
    """A record that is kept whoever waits for it, as a broker keeps it."""

    task: asyncio.Task[int]
    tell: Callable[[asyncio.Task[int]], None]

    def cancel(self) -> None:
        self.task.remove_done_callback(self.tell)


def make_codec(registry: Any = None) -> Codec:
    catalog = shipped()
    catalog.add_model(DeliverWebhook)
    return Codec(catalog, registry)


CODEC = make_codec()


def job(event: str, url: str = "http://localhost") -> DeliverWebhook:
    return DeliverWebhook(url=url, event=event, body="{}")


def record(offset: int, key: str | None = None, event: str = "", headers: Headers = ()) -> Fetched:
    """A job at an offset; its event is the offset unless another is given."""
    value = CODEC.encode(job(event or str(offset)), TOPIC)
    return Fetched(offset, None if key is None else key.encode(), value, headers)


def records(start: int, count: int, keys: Sequence[str | None] = (None,)) -> list[Fetched]:
    return [record(offset, keys[offset % len(keys)]) for offset in range(start, start + count)]


class Asked:
    """Keeps what the assignment asks of the consumer, instead of one."""

    def __init__(self) -> None:
        self.reopened: list[TopicPartition] = []
        self.restarted: list[tuple[TopicPartition, Anew]] = []
        self.rejoins = 0
        self.commits = 0
        #: What a test does when somebody waits for a commit.
        self.on_commit_now: Callable[[], object] = lambda: None

    def fetch_again(self, tp: TopicPartition) -> None:
        self.reopened.append(tp)

    def reopen(self, tp: TopicPartition, anew: Anew) -> None:
        self.restarted.append((tp, anew))

    def rejoin(self) -> None:
        self.rejoins += 1

    def commit_soon(self) -> None:
        self.commits += 1

    def commit_now(self) -> None:
        self.on_commit_now()


@dataclass
class Rig:
    """A worker with one queue, and what stands in for Kafka."""

    worker: WorkerParts
    letters: Letters
    #: What was asked of the consumer, unless the rig was given another one.
    asked: Asked
    #: What would have ended the worker.
    failures: list[BaseException]

    @property
    def executor(self) -> QueueExecutor:
        return self.assignment.executors[TOPIC]

    @property
    def assignment(self) -> Assignment:
        return self.worker.assignment

    @property
    def quarantine(self) -> Quarantine:
        return self.worker.quarantine

    @property
    def threads(self) -> ThreadRunner:
        return self.worker.threads["webhook"]

    @property
    def lease(self) -> GroupLease:
        return self.worker.lease

    @property
    def reopened(self) -> list[TopicPartition]:
        return self.asked.reopened

    @property
    def restarted(self) -> list[tuple[TopicPartition, Anew]]:
        return self.asked.restarted

    def open(self, *tps: TopicPartition, generation: int = 1, committed: PartitionStart | None = None) -> None:
        """Assign partitions as the group would, and start them."""
        self.add(self.assignment.reassign(tps, generation), committed or PartitionStart(None, "", 0, 1_000_000))
        self.assignment.unblock_starts()

    def add(self, tps: Iterable[TopicPartition], committed: PartitionStart) -> None:
        """Open partitions whose retry logs are empty."""
        partitions = {tp: self.assignment.restore(tp, committed, PartitionStart(None, "", 0, 0)) for tp in tps}
        for partition in partitions.values():
            partition.start(1_000_000)
        self.assignment.start(partitions)
        self.assignment.commits_acknowledged(self.assignment.collect_commits())

    def take(self, batch: Sequence[Fetched], tp: TopicPartition = P0, epoch: int | None = None) -> None:
        self.assignment.take(Batch(tp, self.assignment.epoch if epoch is None else epoch, batch))

    async def idle(self) -> None:
        """Wait until nothing is unfinished, parked jobs included."""
        await until(lambda: not self.assignment.pending and not self.assignment.parked)


@asynccontextmanager
async def rig(
    handler: Callable[[DeliverWebhook, Any], Any],
    *,
    retry: RetryPolicy = NO_RETRY,
    order: Literal["key", "none"] = "key",
    concurrency: int = 10,
    timeout: float = 30,
    limit_jobs: int = 1000,
    limit_bytes: int = 1_000_000,
    codec: Codec | None = None,
    schema_wait: float = 0.0,
    retry_hold: float = 0.0,
    processes: ProcessRunner | None = None,
    around: Any = None,
    requests: GroupRequests | None = None,
    listeners: Iterable[JobListener] = (),
) -> AsyncIterator[Rig]:
    """A worker with one queue and one handler, which is CPU-bound if there are processes.

    requests  of a consumer, where there is one
    """
    queue = Queue("webhook", retry=retry, order=order, around=around, concurrency=concurrency)
    queue.job(DeliverWebhook, timeout=timeout, cpu_bound=processes is not None)(handler)
    settings = Settings(
        buffer_jobs=limit_jobs,
        buffer_bytes=limit_bytes,
        schema_wait=schema_wait,
        retry_hold=retry_hold,
        session_timeout=60,
    )
    letters, asked, failures = Letters(), Asked(), list[BaseException]()
    worker = assemble_worker(
        settings,
        [queue],
        codec or CODEC,
        writer=letters,
        requests=requests or asked,
        processes=processes or ProcessRunner(1),
        fail=failures.append,
        listeners=listeners,
    )
    it = Rig(worker, letters, asked, failures)
    watch = asyncio.create_task(cancel_overdue(worker.service.runners))
    clock = asyncio.create_task(_tell_time(worker.service))
    try:
        yield it
    finally:
        it.assignment.block_starts()
        watch.cancel()
        clock.cancel()
        await it.executor.stop()


async def _tell_time(service: WorkerService) -> None:
    while True:
        await asyncio.sleep(0.001)
        service.tick(monotonic(), int(time() * 1000))


async def until(condition: Callable[[], object], within: float = 20.0) -> None:
    """Let the loop turn until a condition holds; TimeoutError if it does not."""
    give_up = monotonic() + within
    while not condition():
        if monotonic() > give_up:
            raise TimeoutError("the condition does not come true")
        await asyncio.sleep(0.001)


async def turns(count: int = 50) -> None:
    """Let the loop turn: what can happen without time passing has happened then."""
    for _ in range(count):
        await asyncio.sleep(0)
