"""A queue with its executor and assignment on a real event loop, without a broker: what would be written is kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any, Literal

from schemas.catalog import shipped
from schemas.codec import Codec
from schemas.headers import Headers
from schemas.models.webhook import DeliverWebhook
from streams.api.queue import Queue
from streams.core.retry.policy import NO_RETRY, RetryPolicy
from streams.ports.records import Anew, Batch, OutgoingRecord, PartitionStart, TopicPartition
from streams.ports.writer import Append, OnAppended
from streams.settings import Settings
from streams.worker.admission.lease import GroupLease
from streams.worker.admission.quarantine import Quarantine
from streams.worker.assignment import Assignment
from streams.worker.executor import Executor
from streams.worker.handlers.calls import HandlerTable
from streams.worker.handlers.processes import ProcessRunner
from streams.worker.handlers.threads import ThreadRunner
from streams.worker.outcomes.follow_ups import FollowUpPublisher
from streams.worker.outcomes.pending_writes import PendingWrites

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


@dataclass
class Rig:
    """One queue and what belongs to it."""

    executor: Executor
    assignment: Assignment
    letters: Letters
    quarantine: Quarantine
    threads: ThreadRunner
    lease: GroupLease
    reopened: list[TopicPartition] = field(default_factory=list)
    restarted: list[tuple[TopicPartition, Anew]] = field(default_factory=list)

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
    executor_type: type[Executor] = Executor,
    schema_wait: float = 0.0,
    processes: ProcessRunner | None = None,
    around: Any = None,
) -> AsyncIterator[Rig]:
    """A running queue with one handler, which is CPU-bound if there are processes."""
    queue = Queue("webhook", retry=retry, order=order, around=around)
    queue.job(DeliverWebhook, timeout=timeout, cpu_bound=processes is not None)(handler)
    quarantine = Quarantine()
    failures = list[BaseException]()
    letters, threads, lease = Letters(), ThreadRunner(), GroupLease(session=60)
    handling = HandlerTable(queue, codec or CODEC, threads, processes or ProcessRunner(1))
    executor = executor_type(
        handling,
        FollowUpPublisher(letters, codec or CODEC, Settings()),
        PendingWrites(letters, "webhook", failures.append),
        quarantine,
        concurrency=concurrency,
        report_all=False,
        schema_wait=schema_wait,
        lease=lease,
        share=None if processes is None else processes.share(handling.in_process, concurrency),
    )
    assignment = Assignment({TOPIC: executor}, quarantine, limit_jobs=limit_jobs, limit_bytes=limit_bytes)
    watch = asyncio.create_task(executor.watch())
    clock = asyncio.create_task(_tell_time(assignment))
    it = Rig(executor, assignment, letters, quarantine, threads, lease)
    assignment.on_fetchable = it.reopened.append
    assignment.on_restart = lambda tp, anew: it.restarted.append((tp, anew))
    try:
        yield it
    finally:
        assignment.block_starts()
        watch.cancel()
        clock.cancel()
        await executor.stop()


async def _tell_time(assignment: Assignment) -> None:
    while True:
        await asyncio.sleep(0.001)
        assignment.tick(int(time() * 1000))


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
