"""What a worker does when its group gives it partitions or takes them, when a log is replaced, and when it stops.

In this order: `revoked` blocks new starts, `drain` waits within bounds for what runs and commits, `assigned` fences off
what was lost, `open` opens what is new and starts jobs again. A stop drains once and for all. Nothing here knows Faust.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from aiokafka.errors import KafkaError

from streams.kafka.consumer.commit_loop import NO_GENERATION, CommitLoop
from streams.kafka.consumer.fetch_set import FetchSet
from streams.kafka.errors import RETRY_AFTER
from streams.ports.group import NotSettledYet
from streams.ports.records import Anew, TopicPartition

logger = logging.getLogger(__name__)


class AssignedPartitions(Protocol):
    """The partitions of a worker and their jobs, as a rebalance sees them: the worker's assignment."""

    @property
    def epoch(self) -> int:
        """Rises whenever starts are blocked; what was begun in an earlier epoch is overtaken."""
        ...

    @property
    def active(self) -> int:
        """Jobs that run."""
        ...

    @property
    def writing(self) -> int:
        """Jobs whose retry record or dead letter the broker has not acknowledged yet."""
        ...

    def block_starts(self) -> None: ...
    def unblock_starts(self) -> None: ...
    def reassign(self, assigned: Iterable[TopicPartition], generation: int) -> set[TopicPartition]: ...
    def positions(self) -> Mapping[TopicPartition, int]: ...
    def ids(self) -> Mapping[TopicPartition, str]: ...
    def is_closed(self, tp: TopicPartition) -> bool: ...
    def claim(self) -> None: ...
    def release(self) -> None: ...
    async def quiet(self, timeout: float) -> bool: ...


class Opener(Protocol):
    """Opens partitions where the group left them: a PartitionOpener."""

    async def open(self, wanted: Collection[TopicPartition], restarts: Anew, overtaken: Callable[[], bool]) -> bool: ...


class Membership(Protocol):
    """This worker's place in its group."""

    def expelled(self) -> bool: ...
    async def seek_all(self, positions: Mapping[TopicPartition, int], logs: Mapping[TopicPartition, str]) -> None: ...


class Host(Protocol):
    """The process that the consumer is part of."""

    @property
    def stopping(self) -> bool:
        """Whether the worker stops, for whatever reason."""
        ...

    @property
    def crashed(self) -> bool:
        """Whether it stops because of a fault of its own."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait so long, or until the consumer stops."""

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[Any]:
        """Run something beside; an error of it ends the worker."""
        ...

    async def cancel_running(self) -> None:
        """Cancel the jobs that still run."""


class Rebalance:
    """Leads a worker through rebalances, restarts of single logs, and its stop.

    The consumer calls it on the worker's loop; Faust decides what comes when.

    handover_timeout, stop_timeout  seconds that jobs may go on running before a hand-over, and before a stop
    retry_after                     seconds until something the broker refuses is tried again
    """

    def __init__(
        self,
        partitions: AssignedPartitions,
        group: Membership,
        opener: Opener,
        *,
        commits: CommitLoop,
        fetches: FetchSet,
        host: Host,
        handover_timeout: float,
        stop_timeout: float,
        retry_after: float = RETRY_AFTER,
    ) -> None:
        self._partitions = partitions
        self._group = group
        self._opener = opener
        self._commits = commits
        self._fetches = fetches
        self._host = host
        self._handover_timeout = handover_timeout
        self._stop_timeout = stop_timeout
        self._retry_after = retry_after
        self._generation = NO_GENERATION
        self._unopened: set[TopicPartition] = set()
        #: Logs that have replaced others, and where they start; and the task that opens their partitions.
        self._restarts: dict[TopicPartition, int | None] = {}
        self._restarting: asyncio.Future[Any] | None = None
        self._opening = asyncio.Lock()
        self._drained: asyncio.Task[None] | None = None
        #: Unset from when partitions were given up until the group says which are this worker's.
        self._has_joined = asyncio.Event()
        self._has_joined.set()
        #: Whether partitions are being given up, and the group has not said yet which are this worker's.
        self._gives_up = False

    # -- the group takes partitions, and gives them -------------------------------------------------------------------

    async def revoked(self, any_revoked: bool, hand_over: Callable[[], Awaitable[None]]) -> None:
        """Finish what can be finished, commit, and let go. `hand_over` is Faust's way to `drain`."""
        self._gives_up = True
        if any_revoked and self._group.expelled():
            logger.warning("the group has gone on without this worker: its running jobs are cancelled")
            self._partitions.reassign((), NO_GENERATION)
        self._block_starts()
        await (self.drain() if self._host.stopping else hand_over())
        self._has_joined.clear()

    async def assigned(
        self, assigned: Iterable[TopicPartition], generation: int, take_over: Callable[[], Awaitable[None]]
    ) -> None:
        """Fence off at once what was lost. `take_over` is Faust's way to `open`, which opens what is new."""
        self._forget_restarts(mine := frozenset(assigned), generation)
        self._generation = generation
        self._commits.join(generation)
        self._gives_up = False
        self._unopened = self._partitions.reassign(mine, generation)
        if self._host.stopping:
            # What has finished since the revocation is of partitions that stayed.
            self._commits.permit()
            await self._commits.commit_last()
        else:
            await take_over()
        self._has_joined.set()

    def _forget_restarts(self, assigned: Collection[TopicPartition], generation: int) -> None:
        """Forget restarts of what another worker may get: it commits where the new logs stand, and that counts then."""
        stays = assigned if generation == self._generation + 1 else ()
        logs = _logs_of(stays)
        self._restarts = {log: at for log, at in self._restarts.items() if log in logs}

    async def open(self) -> None:
        """Open new partitions where the group left them, fetch every one from where it stands, and start jobs."""
        epoch = self._partitions.epoch
        if await self._open_new(epoch) is None:
            return
        positions = self._partitions.positions()
        await self._group.seek_all(positions, self._partitions.ids())
        if epoch != self._partitions.epoch:
            return
        self._commits.permit()
        if not await self._commit_claims(epoch):
            return
        self._fetches.open(self._to_fetch(positions))
        self._commits.commit_soon()
        self._partitions.unblock_starts()

    async def _commit_claims(self, epoch: int) -> bool:
        """Have the broker know who holds the partitions before any job starts. Returns False if a rebalance came
        first."""
        self._partitions.claim()
        while not await self._commits.commit():
            await self._host.sleep(self._retry_after)
            if epoch != self._partitions.epoch:
                return False
        return epoch == self._partitions.epoch

    async def _open_new(self, epoch: int) -> frozenset[TopicPartition] | None:
        """Open what is unopened by then, however long the broker takes. Returns it; None if a rebalance came first."""
        async with self._opening:
            while epoch == self._partitions.epoch:
                wanted = frozenset(self._unopened)
                try:
                    if await self._opener.open(wanted, self._restarts, lambda: epoch != self._partitions.epoch):
                        self._opened(wanted)
                        return wanted
                except (TimeoutError, KafkaError, NotSettledYet) as error:
                    logger.warning("cannot open the partitions: %r; trying again", error)
                    await self._host.sleep(self._retry_after)
            return None

    def _opened(self, partitions: frozenset[TopicPartition]) -> None:
        self._unopened -= partitions
        opened = _logs_of(partitions)
        self._restarts = {log: at for log, at in self._restarts.items() if log not in opened}

    def _to_fetch(self, opened: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Those of opened partitions that have not been closed since."""
        return [tp for tp in opened if not self._partitions.is_closed(tp)]

    def _block_starts(self) -> None:
        """Start nothing more, and fetch nothing more."""
        self._partitions.block_starts()
        self._fetches.clear()

    # -- a log is another one -----------------------------------------------------------------------------------------

    def reopen(self, tp: TopicPartition, anew: Anew) -> None:
        """Open a partition again of which a log was replaced; where it is being given up, once it is assigned again."""
        self._fetches.discard(tp)
        self._unopened.add(tp)
        self._restarts.update(anew)
        if not self._gives_up and (self._restarting is None or self._restarting.done()):
            self._restarting = self._host.start(self._reopen(self._partitions.epoch))

    async def _reopen(self, epoch: int) -> None:
        while self._unopened and epoch == self._partitions.epoch:
            opened = await self._open_new(epoch)
            if opened is None:
                return
            positions = {tp: offset for tp, offset in self._partitions.positions().items() if tp in opened}
            await self._group.seek_all(positions, self._partitions.ids())
            if epoch == self._partitions.epoch:
                self._fetches.add(self._to_fetch(positions))
                self._commits.commit_soon()

    # -- before partitions are given up -------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Wait for running jobs within bounds and commit. Called on a revocation, and when the worker stops."""
        self._block_starts()
        if not self._host.stopping:
            await self._drain_for_rebalance()
        # The stop may have come while the rebalance waited.
        if self._host.stopping:
            if self._drained is None:
                self._drained = asyncio.ensure_future(self._drain_for_stop())
            await asyncio.shield(self._drained)

    async def _drain_for_rebalance(self) -> None:
        if not await self._partitions.quiet(self._handover_timeout):
            logger.info("jobs still run after %g s; they go on while the group rebalances, and are cancelled if their"
                        " partition goes to another worker", self._handover_timeout)  # fmt: skip
        self._partitions.release()
        await self._commits.commit_last()

    async def _drain_for_stop(self) -> None:
        """Wait for running jobs within bounds, cancel the rest, and commit."""
        if not self._host.crashed:
            # Else what may have brought the worker down is for the next one to be careful with.
            self._partitions.release()
        await self._await_running()
        await self._host.cancel_running()
        # A rebalance may have forbidden it; a generation that is over is refused all the same.
        self._commits.permit()
        await self._commits.commit_last()
        if not self._commits.committed_last:
            # The group may be between two generations; the next assignment commits for the partitions that stay.
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._has_joined.wait(), self._commits.last_timeout)

    async def _await_running(self) -> None:
        if self._partitions.active:
            logger.info("waiting for %d jobs that run, %g s at the most; a second signal ends the worker at once",
                        self._partitions.active, self._stop_timeout)  # fmt: skip
        # Who ends a worker that is stopping already, as its supervisor does that waits no longer, is none of its jobs:
        # let the broker know before that.
        early = asyncio.ensure_future(self._commits.commit_in_time())
        quiet = await self._partitions.quiet(self._stop_timeout)
        early.cancel()
        if not quiet:
            logger.warning(
                "%g s after the stop %d jobs still run, and of %d others the broker has not acknowledged the retry or"
                " the dead letter: the former are cancelled, and all may run again elsewhere; these runs count as no"
                " attempts",
                self._stop_timeout, self._partitions.active, self._partitions.writing,
            )  # fmt: skip


def _logs_of(partitions: Iterable[TopicPartition]) -> set[TopicPartition]:
    """The logs of partitions: of their queues, and of their retry topics."""
    return {log for tp in partitions for log in (tp, tp.retry)}
