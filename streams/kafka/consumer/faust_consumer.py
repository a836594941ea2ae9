"""The Faust transport: whole fetched batches to the agents, and nothing else of Faust's consumer.

With `thread` beside it, it alone knows the inside of Faust's consumer. What it replaces, and why, is measured: Faust's
path costs 75 µs a record, its acks can commit unfinished offsets, a failed commit loses acks, a revocation throws them
away, commit metadata is always empty, and waiting for running work has no bound. What replaces it stands beside:
`commit_loop`, `rebalance` and `log_watch`, which know nothing of Faust; here they are tied to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from faust.events import Event
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage
from mode import Service

from streams.kafka.consumer.commit_loop import CommitLoop, CommitSource
from streams.kafka.consumer.fetch_loop import Fetched
from streams.kafka.consumer.fetch_set import FetchSet
from streams.kafka.consumer.group_offsets import GroupOffsets
from streams.kafka.consumer.log_watch import LogWatch, WatchedLogs
from streams.kafka.consumer.rebalance import AssignedPartitions, Rebalance
from streams.kafka.consumer.requests import ConsumerRequests
from streams.kafka.consumer.thread import ConsumerThread, Lease
from streams.kafka.retry_topic.open_partitions import PartitionOpener, RestoredPartitions
from streams.kafka.retry_topic.reader import RetryTopicReader
from streams.ports.records import Anew, Batch, Span, TopicPartition
from streams.settings import Settings

logger = logging.getLogger(__name__)


class WorkerAssignment(AssignedPartitions, CommitSource, RestoredPartitions, WatchedLogs, Protocol):
    """All that the consumer and its parts ask of the worker's assignment."""

    def pass_over(self, tp: TopicPartition, epoch: int, span: Span) -> None: ...


@dataclass(frozen=True)
class Wiring:
    """What the consumer is tied to; the composition root fills it in."""

    settings: Settings
    assignment: WorkerAssignment
    #: Where the assignment and the quarantine ask for what the consumer does; the consumer serves it.
    requests: ConsumerRequests
    retry_logs: RetryTopicReader
    #: Renewed by every heartbeat.
    lease: Lease
    #: Cancels what still runs when a stop has waited long enough.
    cancel_running: Callable[[], Coroutine[Any, Any, None]]
    #: Jobs of one queue that run at once, at the most.
    concurrency: int


class Consumer(driver.Consumer):
    """Faust's consumer with our fetch loop; commits, rebalances and the watch over logs are objects of their own."""

    transport: Transport
    _thread: ConsumerThread

    def __init__(self, transport: Transport, **kwargs: Any) -> None:
        self._wiring = wiring = transport.wiring
        self._assignment = wiring.assignment
        self._generation = -1
        super().__init__(transport, **kwargs)
        settings = wiring.settings
        group = GroupOffsets(self._thread)
        self._fetches = FetchSet(self._thread.wake)
        self._commits = CommitLoop(wiring.assignment, group, settings.commit_interval)
        self._rebalance = Rebalance(
            wiring.assignment,
            group,
            PartitionOpener(wiring.assignment, group, wiring.retry_logs),
            commits=self._commits,
            fetches=self._fetches,
            host=_Host(self, wiring),
            handover_timeout=settings.handover_timeout,
            stop_timeout=settings.stop_timeout,
        )
        self._log_watch = LogWatch(wiring.assignment, group, lambda: self.flow_active and self._commits.permitted)
        wiring.requests.serve(self)

    def _new_consumer_thread(self) -> ConsumerThread:
        wiring = self._wiring
        return ConsumerThread(
            self, wiring.settings, wiring.lease,
            concurrency=wiring.concurrency, on_refused=self._look_at_logs, loop=self.loop, beacon=self.beacon,
        )  # fmt: skip

    @property
    def committed_last(self) -> bool:
        """Whether the broker has taken the last commit before partitions were given up."""
        return self._commits.committed_last

    # -- fetching ---------------------------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch batches and hand them to the agents, until the fetcher stops."""
        try:
            await self._thread.run(self._thread.hand_over(self._fetches, self._receive))
        except asyncio.CancelledError:
            # Faust takes a cancelled fetcher for a crash; on a stop it is none.
            if not self.app.should_stop:
                raise

    def _receive(self, fetched: Fetched) -> None:
        """Deliver what was fetched, unless a rebalance has overtaken it: positions only move when a batch is taken."""
        if not self.flow_active or not self._fetches.asks_for(fetched.asked):
            return
        epoch = self._assignment.epoch
        for tp, records in fetched.records.items():
            self._deliver(Batch(TopicPartition(*tp), epoch, records, fetched.passed.pop(tp, None)))
        for tp, span in fetched.passed.items():
            self._assignment.pass_over(TopicPartition(*tp), epoch, span)

    def _deliver(self, batch: Batch) -> None:
        """Put a batch into the agent's channel, as one event; the partition waits until it is taken in."""
        self._fetches.discard(batch.tp)
        tp = TP(*batch.tp)
        message = ConsumerMessage(
            tp.topic, tp.partition, batch.records[0].offset, 0.0, 0, None, None, None, None, tp=tp,
            generation_id=self._generation,
        )  # fmt: skip
        topics: Any = self.app.topics
        for channel in topics._tp_index[tp]:
            channel.queue.put_nowait(Event(self.app, None, batch, {}, message))

    # -- what the worker asks for: see GroupRequests ------------------------------------------------------------------

    def fetch_again(self, tp: TopicPartition) -> None:
        """Fetch a partition whose jobs had filled their bounds."""
        self._fetches.add((tp,))

    def reopen(self, tp: TopicPartition, anew: Anew) -> None:
        """Open a partition again that was given up, since one of its logs is another one."""
        self._rebalance.reopen(tp, anew)

    def rejoin(self) -> None:
        """Have the group see a topic soon that is there again: it looks for new ones now and then."""
        self._thread.look_for_topics()

    def commit_soon(self) -> None:
        """Commit with the next round: there is something to commit again."""
        self._commits.commit_soon()

    def commit_now(self) -> None:
        """Commit at once: somebody waits for the answer."""
        self._commits.commit_now()

    def resume_flow(self) -> None:
        """Let batches go to the agents again."""
        super().resume_flow()
        self._thread.wake()

    # -- what Faust calls ---------------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish what can be finished, commit, and let go."""
        faust: Any = super()
        await self._rebalance.revoked(bool(revoked), lambda: faust.on_partitions_revoked(revoked))

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Fence off at once what was lost; what is new is opened by `perform_seek`."""
        faust: Any = super()
        # Faust does it where partitions are revoked, and then only. When it resumes it empties the agents' queues.
        self.stop_flow()
        self._generation = generation_id
        self._wiring.lease.renew(monotonic())
        await self._rebalance.assigned(
            {TopicPartition(*tp) for tp in assigned},
            generation_id,
            lambda: faust.on_partitions_assigned(assigned, generation_id),
        )

    async def perform_seek(self) -> None:
        """Open new partitions where the group left them, and fetch every one from where it stands."""
        await self._rebalance.open()

    async def wait_empty(self) -> None:
        """Wait for running jobs within bounds and commit. Called on a revocation, and when the worker stops."""
        await self._rebalance.drain()

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Do nothing, and return False: commits are made by the commit loop alone."""
        return False

    @Service.task
    async def _commit_handler(self) -> None:
        await self._commits.run()

    @Service.task
    async def _watch_logs(self) -> None:
        await self._log_watch.run()

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """Nothing: Faust's judges by acks, which are not used."""

    def _look_at_logs(self) -> None:
        """Have the ids of all logs looked at soon. Called in the consumer's thread."""
        self.loop.call_soon_threadsafe(self._log_watch.look_soon)

    def close(self) -> None:
        """Nothing: see ConsumerThread.close."""


class _Host:
    """The Faust application and consumer, as a rebalance sees them."""

    def __init__(self, consumer: Consumer, wiring: Wiring) -> None:
        self._consumer = consumer
        self._wiring = wiring

    @property
    def stopping(self) -> bool:
        return bool(self._consumer.app.should_stop)

    @property
    def crashed(self) -> bool:
        return bool(self._consumer.app.crashed)

    async def sleep(self, seconds: float) -> None:
        await self._consumer.sleep(seconds)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[Any]:
        started: asyncio.Future[Any] = self._consumer.add_future(work)
        return started

    async def cancel_running(self) -> None:
        await self._wiring.cancel_running()


class Transport(driver.Transport):
    """Faust's aiokafka transport with our consumer."""

    Consumer = Consumer

    def __init__(self, url: Any, app: Any, wiring: Wiring) -> None:
        super().__init__(url, app)
        self.wiring = wiring
