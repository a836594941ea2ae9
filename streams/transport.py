"""The Faust transport: whole fetched batches to the agents, commits from our own offsets, bounded rebalances.

The one module that knows the inside of Faust's consumer and of aiokafka's. What it replaces, and why, is measured:
Faust's path costs 75 µs a record, its acks can commit unfinished offsets, a failed commit loses acks, a revocation
throws them away, commit metadata is always empty, and waiting for running work has no bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

import aiokafka
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    OffsetMetadataTooLargeError,
)
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaPartition
from faust.events import Event
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage
from mode import Service

from streams.cluster import consumer_login
from streams.core.offset_map import METADATA_LIMIT
from streams.intake import Batch, Committed, Due, Intake, TopicPartition
from streams.lease import Lease
from streams.settings import Settings

logger = logging.getLogger("streams.transport")

T = TypeVar("T")

#: Records taken from the fetcher at once, over all partitions. Bounds how far a partition overshoots its limits.
_FETCH_RECORDS = 1000

#: How long a fetch waits at the broker for records. It also bounds how long a partition that has just been read waits
#: behind a fetch for the others, since there is one at a time for each broker. Milliseconds.
_FETCH_WAIT_MS = 100

#: Bytes of one fetch: of one partition, and of all together.
_PARTITION_FETCH_BYTES = 1024 * 1024
_FETCH_BYTES = 8 * 1024 * 1024

#: Seconds that a commit may take when partitions are given up.
_LAST_COMMIT_TIMEOUT = 10.0

#: Seconds between two tries of something the broker refuses.
_RETRY_AFTER = 1.0

#: aiokafka leaves the group when nothing is fetched for this long. A worker whose buffers are full fetches nothing and
#: is well, so this is the longest time it takes. Milliseconds.
_NEVER = 2**31 - 1


@dataclass(frozen=True)
class Wiring:
    """What the transport is tied to."""

    settings: Settings
    intake: Intake
    #: Renewed by every heartbeat.
    lease: Lease
    #: Cancels what still runs when a stop has waited long enough.
    cancel_running: Callable[[], Coroutine[Any, Any, None]]


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer in its own thread, where heartbeats go on whatever the handlers do.

    Its coroutines are called from the worker's loop through `ask`.
    """

    consumer: Consumer

    async def on_start(self) -> None:
        """Start the consumer, whose heartbeats renew the lease."""
        await super().on_start()
        _renew_by_heartbeats(self._ensure_consumer()._coordinator, self.consumer.wiring.lease)

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        settings = self.consumer.wiring.settings
        # Faust's own assignor gives every worker the same partition numbers of all topics with equal partition counts.
        self._assignor = self.app.assignor
        return aiokafka.AIOKafkaConsumer(
            bootstrap_servers=settings.cluster.bootstrap_servers,
            client_id="streams-worker",
            group_id=settings.group,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # A job of a transaction that was aborted was never published.
            isolation_level="read_committed",
            max_poll_interval_ms=_NEVER,
            max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
            fetch_max_bytes=_FETCH_BYTES,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            session_timeout_ms=int(settings.session_timeout * 1000),
            heartbeat_interval_ms=int(settings.session_timeout * 1000 / 8),
            rebalance_timeout_ms=60_000,
            request_timeout_ms=40_000,
            metadata_max_age_ms=30_000,
            **consumer_login(settings.cluster),
        )

    async def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the consumer's thread. Cancelling this cancels it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.thread_loop))

    async def fetch(self, partitions: set[Any], timeout: float) -> dict[Any, list[Any]]:
        """Fetched records of some partitions, in `timeout` seconds at most. `partitions` may change meanwhile."""
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        consumer._coordinator.check_errors()
        for fetched in fetcher._records.values():
            _take_bare(fetched)
        with fetcher._subscriptions.fetch_context():
            records: dict[Any, list[Any]] = await fetcher.fetched_records(partitions, timeout, _FETCH_RECORDS)
            return records

    def wake(self) -> None:
        """Have a waiting `fetch` look again, since `partitions` has changed. May be called from any thread."""
        self.thread_loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        fetcher = self._ensure_consumer()._fetcher
        for waiter in list(fetcher._fetch_waiters):
            fetcher._notify(waiter)

    async def commit_due(self, due: Iterable[Due], generation: int, *, with_map: bool) -> None:
        """Commit watermarks and maps in one request, unless the group has moved on; raises CommitFailedError then."""
        consumer = self._ensure_consumer()
        if consumer._coordinator.generation != generation:
            raise CommitFailedError("the group has rebalanced since")
        await consumer.commit(
            {
                KafkaPartition(*tp): OffsetAndMetadata(commit.watermark, commit.metadata if with_map else "")
                for tp, _, commit in due
            }
        )

    async def committed_places(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Committed]:
        """What the broker holds for these partitions."""
        consumer = self._ensure_consumer()
        wanted = [KafkaPartition(*tp) for tp in partitions]
        offsets = await consumer._coordinator.fetch_committed_offsets(wanted)
        starts = await consumer.beginning_offsets(wanted)
        ends = await consumer.end_offsets(wanted)
        return {
            TopicPartition(*tp): Committed(
                offsets[tp].offset if tp in offsets else None,
                offsets[tp].metadata if tp in offsets else "",
                starts[tp],
                ends[tp],
            )
            for tp in wanted
        }

    async def seek_all(self, positions: Mapping[TopicPartition, int]) -> None:
        """Fetch from these positions on."""
        consumer = self._ensure_consumer()
        for tp, position in positions.items():
            consumer.seek(KafkaPartition(*tp), position)

    def expelled(self) -> bool:
        """Whether the group has declared this member gone, so that its partitions may have other owners by now."""
        return bool(self._ensure_consumer()._coordinator.generation == _NO_GENERATION)

    def close(self) -> None:
        """Nothing: `on_thread_stop` closes the consumer, after the last commit. Faust's closes it in the wrong loop."""


def _renew_by_heartbeats(coordinator: Any, lease: Lease) -> None:
    """Renew a lease whenever the group has answered a heartbeat, from when it was sent."""
    beat = coordinator._do_heartbeat

    async def beat_and_renew() -> bool:
        sent = monotonic()
        answered: bool = await beat()
        if answered:
            lease.renew(sent)
        return answered

    coordinator._do_heartbeat = beat_and_renew


def _take_bare(fetched: Any) -> None:
    """Have a fetched partition hand out records as its decoder makes them.

    aiokafka copies each into a ConsumerRecord, which costs more than decoding it. Where this comes too late, since the
    fetch arrived meanwhile, there are ConsumerRecords, which have the same attributes.
    """
    records = getattr(fetched, "_partition_records", None)
    if records is not None:
        records._consumer_record = _bare_record


def _bare_record(_partition: Any, record: Any) -> Any:
    return record


class Consumer(driver.Consumer):
    """Faust's consumer with our batches, our commits and our rebalances."""

    transport: Transport
    _thread: ConsumerThread

    def __init__(self, transport: Transport, **kwargs: Any) -> None:
        self.wiring = transport.wiring
        self.intake = transport.wiring.intake
        self.intake.on_room = self._reopen
        #: Partitions to fetch from. Never empty, since aiokafka takes an empty set for all partitions.
        self._open: set[Any] = {_NO_PARTITION}
        self._unopened: set[TopicPartition] = set()
        self._generation = -1
        self._may_commit = False
        self._with_map = True
        self._commit_wanted = asyncio.Event()
        self.intake.on_finish = self._commit_wanted.set
        self._committing = asyncio.Lock()
        self._drained: asyncio.Task[None] | None = None
        super().__init__(transport, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- fetching ---------------------------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch batches and hand them to the agents, until the fetcher stops."""
        try:
            await self._fetch_and_deliver(fetcher)
        except asyncio.CancelledError:
            # Faust takes a cancelled fetcher for a crash; on a stop it is none.
            if not self.app.should_stop:
                raise

    async def _fetch_and_deliver(self, fetcher: Any) -> None:
        while not (self.should_stop or fetcher.should_stop):
            if not self.flow_active:
                await self.wait(self.can_resume_flow.wait())
                continue
            epoch = self.intake.epoch
            try:
                fetched = await self._thread.ask(self._thread.fetch(self._open, timeout=1.0))
            except ConsumerStoppedError:
                return
            except KafkaError as error:
                logger.error("fetching failed: %r; trying again in %g s", error, _RETRY_AFTER)
                await self.sleep(_RETRY_AFTER)
                continue
            # What a rebalance has overtaken is dropped here: positions only move when the intake takes a batch.
            if self.flow_active and epoch == self.intake.epoch:
                for tp, records in fetched.items():
                    self._deliver(Batch(TopicPartition(*tp), epoch, records))

    def _deliver(self, batch: Batch) -> None:
        """Put a batch into the agent's channel, as one event; the partition waits until it is taken in."""
        self._open.discard(batch.tp)
        tp = TP(*batch.tp)
        message = ConsumerMessage(
            tp.topic, tp.partition, batch.records[0].offset, 0.0, 0, None, None, None, None, tp=tp,
            generation_id=self._generation,
        )  # fmt: skip
        topics: Any = self.app.topics
        for channel in topics._tp_index[tp]:
            channel.queue.put_nowait(Event(self.app, None, batch, {}, message))

    def _reopen(self, tp: TopicPartition) -> None:
        self._open.add(tp)
        self._thread.wake()

    def _suspend(self) -> None:
        """Start nothing more, and see to it that a fetch that is under way takes nothing more.

        It may outlast the rebalance. What it took after the next seek would be dropped as overtaken, although the
        consumer's position had moved past it: jobs would be lost. So it is left with a set of its own, and that empty.
        """
        self.intake.suspend()
        left_behind, self._open = self._open, {_NO_PARTITION}
        left_behind.intersection_update((_NO_PARTITION,))

    # -- rebalances -------------------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish what can be finished, commit, and let go."""
        self._suspend()
        if revoked and self._thread.expelled():
            logger.warning("the group has gone on without this worker: its running jobs are cancelled")
            self.intake.keep((), _NO_GENERATION)
        if self.app.should_stop:
            await self.wait_empty()
        else:
            await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Fence off at once what was lost; what is new is opened by `perform_seek`."""
        self._generation = generation_id
        self.wiring.lease.renew(monotonic())
        self._unopened = self.intake.keep({TopicPartition(*tp) for tp in assigned}, generation_id)
        if self.app.should_stop:
            # What has finished since the revocation is of partitions that stayed.
            self._may_commit = True
            await self._commit_last()
        else:
            await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        """Open new partitions where the group left them, and fetch every one from where it stands."""
        epoch = self.intake.epoch
        while epoch == self.intake.epoch:
            try:
                places = await self._thread.ask(self._thread.committed_places(self._unopened))
                break
            except (KafkaError, asyncio.TimeoutError) as error:
                logger.warning("cannot read the group's offsets: %r; trying again", error)
                await self.sleep(_RETRY_AFTER)
        else:
            return
        if epoch != self.intake.epoch:
            return
        self.intake.open({tp: place for tp, place in places.items() if tp in self._unopened})
        self._unopened = set()
        positions = self.intake.positions()
        await self._thread.ask(self._thread.seek_all(positions))
        if epoch != self.intake.epoch:
            return
        self._open.update(tp for tp in positions if not self.intake.is_closed(tp))
        self._may_commit = True
        self._commit_wanted.set()
        self.intake.resume()

    async def wait_empty(self) -> None:
        """Wait for running jobs within bounds and commit. Called on a revocation, and when the worker stops."""
        self._suspend()
        if not self.app.should_stop:
            await self._drain_for_rebalance()
        # The stop may have come while the rebalance waited.
        if self.app.should_stop:
            if self._drained is None:
                self._drained = asyncio.ensure_future(self._drain_for_stop())
            await asyncio.shield(self._drained)

    async def _drain_for_rebalance(self) -> None:
        if not await self.intake.quiet(self.wiring.settings.handover_timeout):
            logger.info("jobs still run after %g s; they go on while the group rebalances, and are cancelled if their"
                        " partition goes to another worker", self.wiring.settings.handover_timeout)  # fmt: skip
        await self._commit_last()

    async def _drain_for_stop(self) -> None:
        """Wait for running jobs within bounds, cancel the rest, and commit."""
        timeout = self.wiring.settings.stop_timeout
        if not await self.intake.quiet(timeout):
            logger.warning("jobs still run %g s after the stop: cancelled, they run again elsewhere", timeout)
        await self.wiring.cancel_running()
        # A rebalance may have forbidden it; a generation that is over is refused all the same.
        self._may_commit = True
        await self._commit_last()

    # -- commits ----------------------------------------------------------------------------------------------------

    @Service.task
    async def _commit_handler(self) -> None:
        """Commit while anything finishes: the next request when the last is answered and a moment has passed."""
        interval = self.wiring.settings.commit_interval
        while not self.should_stop:
            await self.wait(self._commit_wanted.wait())
            self._commit_wanted.clear()
            await self.sleep(interval if await self._commit_due() else _RETRY_AFTER)

    async def _commit_due(self) -> bool:
        """Commit what is due; False if it stays due."""
        async with self._committing:
            due = self.intake.due() if self._may_commit else []
            if not due:
                return True
            try:
                await self._thread.ask(self._thread.commit_due(due, self._generation, with_map=self._with_map))
            except (CommitFailedError, IllegalStateError) as error:
                logger.info("commit overtaken by a rebalance: %s", error)
            except OffsetMetadataTooLargeError:
                self._with_map = False
                logger.error(
                    "the broker refuses the map of finished offsets: set its offset.metadata.max.bytes to %d or more."
                    " Until then a restart repeats jobs that finished before an earlier one",
                    METADATA_LIMIT,
                )
            except KafkaError as error:
                logger.error("the broker refused a commit: %r; trying again", error)
            else:
                self.intake.committed(due)
                return True
            self._commit_wanted.set()
            return False

    async def _commit_last(self) -> None:
        """Commit what is due before partitions are given up; then nothing more until the next assignment."""
        try:
            await asyncio.wait_for(self._commit_due(), _LAST_COMMIT_TIMEOUT)
        except asyncio.TimeoutError:
            logger.warning("the last commit took longer than %g s; its jobs may run again", _LAST_COMMIT_TIMEOUT)
        self._may_commit = False

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Nothing: commits are made by the commit handler alone."""
        return False

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """Nothing: Faust's judges by acks, which are not used."""

    def close(self) -> None:
        """Nothing: see ConsumerThread.close."""


class Transport(driver.Transport):
    """Faust's aiokafka transport with our consumer."""

    Consumer = Consumer

    def __init__(self, url: Any, app: Any, wiring: Wiring) -> None:
        super().__init__(url, app)
        self.wiring = wiring


_NO_PARTITION = TopicPartition("", -1)

#: The generation of a member that is in no group.
_NO_GENERATION = -1
