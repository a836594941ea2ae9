"""The Faust transport: whole fetched batches to the agents, commits from our own offsets, bounded rebalances.

With `thread` beside it, it alone knows the inside of Faust's consumer. What it replaces, and why, is measured: Faust's
path costs 75 µs a record, its acks can commit unfinished offsets, a failed commit loses acks, a revocation throws them
away, commit metadata is always empty, and waiting for running work has no bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    OffsetMetadataTooLargeError,
)
from faust.events import Event
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage
from mode import Service

from streams.core.offsets.commit_metadata import METADATA_LIMIT
from streams.kafka.admin.open_transactions import OpenFor, tell_open
from streams.kafka.consumer.thread import NO_GENERATION, ConsumerThread
from streams.kafka.retry_topic.open_partitions import PartitionOpener
from streams.kafka.retry_topic.reader import RetryTopicReader
from streams.ports.group import CommittedOffset, NotSettledYet
from streams.ports.records import Anew, Batch, DueCommit, TopicPartition
from streams.settings import Settings
from streams.worker.admission.lease import GroupLease
from streams.worker.admission.quarantine import Quarantine
from streams.worker.assignment import Assignment

logger = logging.getLogger(__name__)

#: Seconds that a commit may take when partitions are given up.
_LAST_COMMIT_TIMEOUT = 10.0

#: What one request to commit may hold, since a broker keeps it as one batch of at most a megabyte, and what it keeps of
#: an offset beside its metadata. Bytes.
_REQUEST_BYTES = 400_000
_PLACE_BYTES = 200

#: Of the time, at most one part in so many goes into putting commits together, however large their maps are.
_ENCODING_SHARE = 10

#: How often the ids of topics are looked at. Seconds.
_LOOK_AFTER = 1.0

#: Seconds between two tries of something the broker refuses.
_RETRY_AFTER = 1.0


@dataclass(frozen=True)
class Wiring:
    """What the transport is tied to."""

    settings: Settings
    assignment: Assignment
    retry_logs: RetryTopicReader
    quarantine: Quarantine
    #: Renewed by every heartbeat.
    lease: GroupLease
    #: Cancels what still runs when a stop has waited long enough.
    cancel_running: Callable[[], Coroutine[Any, Any, None]]


class Consumer(driver.Consumer):
    """Faust's consumer with our batches, our commits and our rebalances."""

    transport: Transport
    _thread: ConsumerThread

    def __init__(self, transport: Transport, **kwargs: Any) -> None:
        self.wiring = transport.wiring
        self.work = transport.wiring.assignment
        self.work.on_fetchable = self._reopen
        #: Partitions to fetch from. Never empty, since aiokafka takes an empty set for all partitions.
        self._open: set[Any] = {_NO_PARTITION}
        self._unopened: set[TopicPartition] = set()
        #: Logs that have replaced others, and where they start; and the task that opens their partitions.
        self._restarts: dict[TopicPartition, int | None] = {}
        self._restarting: asyncio.Future[Any] | None = None
        self._opening = asyncio.Lock()
        self.work.on_restart = self._restart
        self.work.on_found = self._rejoin
        self._generation = -1
        self._may_commit = False
        #: Whether the broker has taken the last commit before partitions were given up.
        self.committed_last = True
        self._with_map = True
        #: Seconds that it took to put the last commit together.
        self._taking = 0.0
        self._commit_wanted = asyncio.Event()
        self.work.on_finish = self._commit_wanted.set
        #: Set where somebody waits for the next commit.
        self._commit_now = asyncio.Event()
        transport.wiring.quarantine.on_named = self._hurry
        self._committing = asyncio.Lock()
        #: Set where the ids of logs are to be looked at.
        self._look = asyncio.Event()
        self._open_for = OpenFor()
        self._drained: asyncio.Task[None] | None = None
        #: Unset from when partitions were given up until the group says which are this worker's.
        self._has_joined = asyncio.Event()
        self._has_joined.set()
        super().__init__(transport, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        wiring = self.wiring
        thread = ConsumerThread(self, wiring.settings, wiring.lease, loop=self.loop, beacon=self.beacon)
        thread.on_refused = self._look_at_logs
        return thread

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
            epoch = self.work.epoch
            try:
                fetched = await self._thread.ask(self._thread.fetch(self._open, timeout=1.0))
            except ConsumerStoppedError:
                return
            except KafkaError as error:
                logger.error("fetching failed: %r; trying again in %g s", error, _RETRY_AFTER)
                await self.sleep(_RETRY_AFTER)
                continue
            # What a rebalance has overtaken is dropped here: positions only move when the assignment takes a batch.
            if self.flow_active and epoch == self.work.epoch:
                for tp, records in fetched.records.items():
                    self._deliver(Batch(TopicPartition(*tp), epoch, records, fetched.passed.pop(tp, None)))
                for tp, span in fetched.passed.items():
                    self.work.pass_over(TopicPartition(*tp), epoch, span)

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

    def _read_on(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch partitions that were opened, but for those that are closed by now."""
        self._open.update(tp for tp in partitions if not self.work.is_closed(tp))
        self._thread.wake()

    def _reopen(self, tp: TopicPartition) -> None:
        self._open.add(tp)
        self._thread.wake()

    def _hurry(self) -> None:
        self._commit_now.set()
        self._commit_wanted.set()

    def _block_starts(self) -> None:
        """Start nothing more, and see to it that a fetch that is under way takes nothing more.

        It may outlast the rebalance. What it took after the next seek would be dropped as overtaken, although the
        consumer's position had moved past it: jobs would be lost. So it is left with a set of its own, and that empty.
        """
        self.work.block_starts()
        left_behind, self._open = self._open, {_NO_PARTITION}
        left_behind.intersection_update((_NO_PARTITION,))

    # -- rebalances -------------------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish what can be finished, commit, and let go."""
        self._block_starts()
        if revoked and self._thread.expelled():
            logger.warning("the group has gone on without this worker: its running jobs are cancelled")
            self.work.reassign((), NO_GENERATION)
        if self.app.should_stop:
            await self.wait_empty()
        else:
            await super().on_partitions_revoked(revoked)
        self._has_joined.clear()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Fence off at once what was lost; what is new is opened by `perform_seek`."""
        if generation_id != self._generation + 1:
            # Another worker may have had them since, and has committed where their new logs stand.
            self._restarts = {}
        self._generation = generation_id
        self.wiring.lease.renew(monotonic())
        self._unopened = self.work.reassign({TopicPartition(*tp) for tp in assigned}, generation_id)
        if self.app.should_stop:
            # What has finished since the revocation is of partitions that stayed.
            self._may_commit = True
            await self._commit_last()
        else:
            await super().on_partitions_assigned(assigned, generation_id)
        self._has_joined.set()

    async def perform_seek(self) -> None:
        """Open new partitions where the group left them, and fetch every one from where it stands."""
        epoch = self.work.epoch
        if not await self._open_new(epoch):
            return
        positions = self.work.positions()
        await self._thread.ask(self._thread.seek_all(positions, self.work.ids()))
        if epoch != self.work.epoch:
            return
        self._may_commit = True
        if not await self._commit_claims(epoch):
            return
        self._read_on(positions)
        self._commit_wanted.set()
        self.work.unblock_starts()

    async def _commit_claims(self, epoch: int) -> bool:
        """Have the broker know who holds the partitions before any job starts; False if a rebalance came first."""
        self.work.claim()
        while not await self._commit_due():
            await self.sleep(_RETRY_AFTER)
            if epoch != self.work.epoch:
                return False
        return epoch == self.work.epoch

    async def _open_new(self, epoch: int) -> bool:
        """Open what is unopened, however long the broker takes; False if a rebalance has overtaken this."""
        opening = PartitionOpener(
            self.work,
            _Group(self._thread),
            self.wiring.retry_logs,
            overtaken=lambda: epoch != self.work.epoch,
        )
        async with self._opening:
            while epoch == self.work.epoch:
                try:
                    wanted = frozenset(self._unopened)
                    if await opening.open(wanted, self._restarts):
                        self._unopened -= wanted
                        opened = {place for tp in wanted for place in (tp, tp.retry)}
                        self._restarts = {tp: at for tp, at in self._restarts.items() if tp not in opened}
                        return True
                except (TimeoutError, KafkaError, NotSettledYet) as error:
                    logger.warning("cannot open the partitions: %r; trying again", error)
                    await self.sleep(_RETRY_AFTER)
            return False

    def _restart(self, tp: TopicPartition, anew: Anew) -> None:
        """Open a partition again of which a log was replaced."""
        self._open.discard(tp)
        self._unopened.add(tp)
        self._restarts.update(anew)
        if self._restarting is None or self._restarting.done():
            self._restarting = self.add_future(self._reopen_restarted(self.work.epoch))

    async def _reopen_restarted(self, epoch: int) -> None:
        while self._unopened and epoch == self.work.epoch:
            again = frozenset(self._unopened)
            if not await self._open_new(epoch):
                return
            positions = {tp: position for tp, position in self.work.positions().items() if tp in again}
            await self._thread.ask(self._thread.seek_all(positions, self.work.ids()))
            if epoch == self.work.epoch:
                self._read_on(positions)

    async def wait_empty(self) -> None:
        """Wait for running jobs within bounds and commit. Called on a revocation, and when the worker stops."""
        self._block_starts()
        if not self.app.should_stop:
            await self._drain_for_rebalance()
        # The stop may have come while the rebalance waited.
        if self.app.should_stop:
            if self._drained is None:
                self._drained = asyncio.ensure_future(self._drain_for_stop())
            await asyncio.shield(self._drained)

    async def _drain_for_rebalance(self) -> None:
        if not await self.work.quiet(self.wiring.settings.handover_timeout):
            logger.info("jobs still run after %g s; they go on while the group rebalances, and are cancelled if their"
                        " partition goes to another worker", self.wiring.settings.handover_timeout)  # fmt: skip
        self.work.release()
        await self._commit_last()

    async def _drain_for_stop(self) -> None:
        """Wait for running jobs within bounds, cancel the rest, and commit."""
        timeout = self.wiring.settings.stop_timeout
        if not self.app.crashed:
            # Else what may have brought the worker down is for the next one to be careful with.
            self.work.release()
        if self.work.active:
            logger.info("waiting for %d jobs that run, %g s at the most; a second signal ends the worker at once",
                        self.work.active, timeout)  # fmt: skip
        # Who ends a worker that is stopping already, as its supervisor does that waits no longer, is none of its jobs:
        # let the broker know before that.
        early = asyncio.ensure_future(self._commit_in_time())
        quiet = await self.work.quiet(timeout)
        early.cancel()
        if not quiet:
            logger.warning("%d jobs still run %g s after the stop: cancelled, they run again elsewhere",
                           self.work.active, timeout)  # fmt: skip
        await self.wiring.cancel_running()
        # A rebalance may have forbidden it; a generation that is over is refused all the same.
        self._may_commit = True
        await self._commit_last()
        if not self.committed_last:
            # The group may be between two generations; the next assignment commits for the partitions that stay.
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._has_joined.wait(), _LAST_COMMIT_TIMEOUT)

    # -- commits ----------------------------------------------------------------------------------------------------

    @Service.task
    async def _commit_handler(self) -> None:
        """Commit while anything finishes: one request at a time, and none sooner than an interval after the last."""
        interval = self.wiring.settings.commit_interval
        while not self.should_stop:
            await self.wait(self._commit_wanted.wait())
            self._commit_wanted.clear()
            begun = monotonic()
            if await self._commit_due():
                await self._rest(begun + max(interval, self._taking * _ENCODING_SHARE) - monotonic())
            else:
                await self.sleep(_RETRY_AFTER)

    async def _rest(self, seconds: float) -> None:
        """Wait, unless somebody waits for the next commit."""
        if not self._commit_now.is_set() and seconds > 0:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._commit_now.wait(), seconds)
        self._commit_now.clear()

    async def _commit_due(self) -> bool:
        """Commit what is due; False if it stays due."""
        async with self._committing:
            begun = monotonic()
            due = self.work.collect_commits() if self._may_commit else []
            self._taking = monotonic() - begun
            if not due:
                return True
            try:
                for request in _requests(due):
                    work = self._thread.commit_due(request, self._generation, with_map=self._with_map)
                    missing = await self._thread.ask(work)
                    self.work.commits_acknowledged([each for each in request if each.tp.topic not in missing])
                    self.work.withhold(missing)
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
                return True
            self._commit_wanted.set()
            return False

    # -- topics that are deleted, and made anew ------------------------------------------------------------------------

    def _look_at_logs(self) -> None:
        """Have the ids of all logs looked at soon. May be called from any thread."""
        self.loop.call_soon_threadsafe(self._look.set)

    def _rejoin(self) -> None:
        """Have the group see a topic soon that is there again: it looks for new ones now and then."""
        self._thread.look_for_topics()

    @Service.task
    async def _watch_logs(self) -> None:
        """See which topics were deleted, or made anew: once a second, and when a broker misses one."""
        while not self.should_stop:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._look.wait(), _LOOK_AFTER)
            self._look.clear()
            if self.flow_active and self._may_commit:
                await self._compare_logs()
                await self._see_transactions()

    async def _see_transactions(self) -> None:
        """Tell of transactions that hold partitions up."""
        try:
            for tp, offset in self._open_for.long(await self._thread.ask(self._thread.held_back()), monotonic()):
                tell_open(tp, offset, await self._thread.ask(self._thread.transactions(tp)))
        except KafkaError as error:
            logger.debug("no broker tells of open transactions: %r", error)

    async def _compare_logs(self) -> None:
        epoch = self.work.epoch
        try:
            ids = await self._thread.ask(self._thread.ids(self.work.logs()))
        except KafkaError as error:
            logger.debug("no broker tells the ids of topics: %r", error)
            return
        if epoch == self.work.epoch:
            self.work.check(ids)

    async def _commit_last(self) -> None:
        """Commit what is due before partitions are given up; then nothing more until the next assignment."""
        self.committed_last = await self._commit_in_time()
        if not self.committed_last:
            logger.warning("the broker has not taken the last commit; what has finished since the one before may run"
                           " again")  # fmt: skip
        self._may_commit = False

    async def _commit_in_time(self) -> bool:
        """Commit what is due; False if the broker has not taken it in time."""
        with suppress(asyncio.TimeoutError):
            return await asyncio.wait_for(self._commit_due(), _LAST_COMMIT_TIMEOUT)
        return False

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


def _requests(due: Sequence[DueCommit]) -> Iterator[list[DueCommit]]:
    """What is due, in requests that a broker takes; a job's way to its retry topic is in one of them."""
    request: list[DueCommit] = []
    size = 0
    for each in due:
        if size > _REQUEST_BYTES and each.partition is not request[-1].partition:
            yield request
            request, size = [], 0
        request.append(each)
        size += len(each.commit.metadata) + _PLACE_BYTES
    yield request


class _Group:
    """The consumer's thread, asked from the worker's loop."""

    def __init__(self, thread: ConsumerThread) -> None:
        self._thread = thread

    async def committed(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, CommittedOffset]:
        return await self._thread.ask(self._thread.committed(partitions))

    async def bounds(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        return await self._thread.ask(self._thread.bounds(partitions))

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._thread.ask(self._thread.ends(partitions))

    async def ids(self, topics: Collection[str]) -> dict[str, str | None]:
        return await self._thread.ask(self._thread.ids(topics))
