"""Runs a queue's ready lanes: a fixed number of runner tasks pull lane heads and bring each to its outcome.

No task is made for a job. A runner is a task that takes one lane head after another, for as long as the worker lives;
idle runners wait for a lane in a stack, so few of them do the work when there is little of it. A run that leaves its
task other than it was (a context variable that is set, a new name) takes it along: the runner goes on in a new one, so
that no later job meets what an earlier one has set. To look for that costs a hundredth of a task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from decimal import setcontext
from time import monotonic, time
from typing import Protocol

from streams.aio.wait_list import WaitList
from streams.core.partition.parked import ParkedLane
from streams.ports.events import JobEvents
from streams.ports.records import WorkLane, WorkPartition
from streams.worker.admission.admission import Admission, ReadyLanes
from streams.worker.admission.lease import GroupLease
from streams.worker.admission.quarantine import Quarantine
from streams.worker.admission.start_block import StartBlock
from streams.worker.handlers.calls import HandlerTable
from streams.worker.handlers.processes import ProcessRunner
from streams.worker.job_run import JobRuns
from streams.worker.outcomes.follow_ups import FollowUpPublisher
from streams.worker.outcomes.pending_writes import PendingWrites
from streams.worker.outcomes.retry_writer import RetryWriter
from streams.worker.run_context import RunContext
from streams.worker.runner import CancelReason, Runner

logger = logging.getLogger(__name__)

#: Runners that may be on their way from idle to work at once; each that arrives wakes the next.
_WAKING = 4

#: How long a stop waits for cancelled handlers. Seconds.
_GRACE = 5.0

#: Ready lanes that are enough for the quickest jobs. More do not run sooner for being read: they would only fill
#: memory, and the processor's caches, which costs a fifth of the speed.
ENOUGH = 256

#: The name of a runner's task.
_RUNNER = "runner"


class ExecutorReports(Protocol):
    """What a QueueExecutor reports, to the Assignment that it belongs to."""

    def progressed(self, partition: WorkPartition) -> None:
        """Something of a partition is finished."""

    def retry_log_replaced(self, partition: WorkPartition) -> None:
        """An answer shows that a partition's retry log is another one by now; nothing is finished by that answer."""


class QueueExecutor:
    """Runs the ready lanes of one queue in a fixed number of tasks, its runners, and brings each job to its outcome.

    Owned by the worker's event loop: no method may be called from another thread, and none of them blocks.

    processes  of the worker, where the queue has CPU-bound jobs
    hungry     called when there is no longer enough to run, after `check_and_arm_hungry` has said that there was
    fail       called when a runner has failed, which ends the worker
    """

    def __init__(
        self,
        handlers: HandlerTable,
        follow_ups: FollowUpPublisher,
        writes: PendingWrites,
        *,
        concurrency: int,
        schema_wait: float,
        lease: GroupLease,
        quarantine: Quarantine,
        processes: ProcessRunner | None,
        events: JobEvents,
        reports: ExecutorReports,
        hungry: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self.queue = handlers.queue.name
        #: Whether jobs of one key run one after another.
        self.ordered = handlers.queue.order == "key"
        self._concurrency = concurrency
        self._reports = reports
        self._fail = fail
        self._writes = writes
        self._retry_writer = RetryWriter(writes, self._written, reports.retry_log_replaced)
        self._lanes = ReadyLanes(max(ENOUGH, concurrency), hungry)
        share = None if processes is None else processes.share(handlers.in_process, concurrency, self._submit_first)
        self._admission = Admission(self, self._lanes, lease, quarantine, share)
        self._runs = JobRuns(
            handlers,
            self._admission,
            lease=lease,
            follow_ups=follow_ups,
            writes=writes,
            retry_writer=self._retry_writer,
            events=events,
            schema_wait=schema_wait,
            ended=self._settled,
        )
        self._runners: list[Runner] = []
        self._idle: list[asyncio.Future[None]] = []
        self._waking = 0
        #: Runners that wait for the admission to open, and how many may, while the others rest: as many as find
        #: something to take then.
        self._watching, self._watchers = 0, 1
        self._inherited = RunContext()
        self._stopping = False
        #: Jobs that run now.
        self.active = 0
        self._quiet = WaitList()

    # -- lanes ---------------------------------------------------------------------------------------------------------

    def submit(self, lanes: Iterable[WorkLane]) -> None:
        """Take lanes that have become ready."""
        self._lanes.extend(lanes)
        self._wake()

    def submit_alone(self, lane: WorkLane) -> None:
        """Take a lane whose head runs alone: StartBlock.ISOLATION does not hold it back."""
        self._lanes.add_alone(lane)
        self._wake()

    def _submit_first(self, lane: WorkLane) -> None:
        self._lanes.add_first(lane)
        self._wake()

    @property
    def writing(self) -> int:
        """Jobs whose retry record or dead letter the broker has not acknowledged yet."""
        return len(self._writes)

    @property
    def has_free_runner(self) -> bool:
        """Whether a runner is free, or may be made."""
        return self.active < self._concurrency

    def check_and_arm_hungry(self) -> bool:
        """Returns whether there is enough to run for now; if so, `hungry` is called when that has changed."""
        return self._lanes.check_and_arm_hungry()

    def block(self, reason: StartBlock) -> None:
        """Start no more jobs until the `unblock` of every block, but for `submit_alone`; those that run go on."""
        self._admission.block(reason)

    def unblock(self, reason: StartBlock) -> None:
        """Start jobs again."""
        self._admission.unblock(reason)
        self._wake()

    def stir(self, partition: WorkPartition) -> None:
        """Take the parked lanes of a partition whose time has come."""
        lanes = partition.ready(int(time() * 1000))
        if lanes:
            self.submit(lanes)

    def divert(self, partition: WorkPartition) -> None:
        """Write what was read of parked keys to the retry topic."""
        diverted = partition.take_diverted()
        if diverted:
            self._retry_writer.write(partition, diverted)

    def stop_holding(self, partitions: Iterable[WorkPartition]) -> None:
        """Write what partitions hold of failures: they may go to another worker. Nothing is started meanwhile."""
        taken_back = self._lanes.take_back(lambda lane: isinstance(lane, ParkedLane) and lane.failed_unwritten)
        for partition in partitions:
            self._retry_writer.write(partition, partition.stop_holding(taken_back))

    def _written(self, partition: WorkPartition) -> None:
        self.stir(partition)
        self._reports.progressed(partition)

    def _settled(self, lane: WorkLane) -> None:
        if self._finish(lane):
            self.submit([lane])
        self._reports.progressed(lane.owner)

    def _finish(self, lane: WorkLane) -> bool:
        """Finish the head of a lane. Returns whether the lane is ready again."""
        partition = lane.owner
        ready = partition.finish(lane)
        if lane.entry is not None and not ready:
            self.stir(partition)
        return ready

    async def quiet(self) -> None:
        """Wait until no job runs, and no record is on its way to the retry topic or the dead letters."""
        if self.active:
            await self._quiet.wait()
        await self._writes.quiet()

    def forget_lost(self) -> None:
        """Cancel the runs of lost partitions, and drop what they have waiting."""
        self._admission.forget_lost()
        for runner in self._runners:
            if runner.lane is not None and runner.lane.owner.lost:
                runner.cancel(CancelReason.LOST)
        self._writes.forget_lost()

    # -- runners -------------------------------------------------------------------------------------------------------

    @property
    def runners(self) -> list[Runner]:
        """Those that there are. May be called from any thread."""
        return self._runners.copy()

    async def stop(self) -> None:
        """Cancel all runners and wait for their end, but not for handlers that will not be cancelled."""
        self._stopping = True
        self._admission.block(StartBlock.STOP)
        tasks = {task for runner in self._runners if (task := runner.stop()) is not None}
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=_GRACE)
            if left:
                logger.error("%d jobs of queue %s do not heed their cancellation; left behind", len(left), self.queue)
        self._runners.clear()
        self._idle.clear()
        self._waking = 0
        self._writes.stop()

    def _wake(self) -> None:
        """Bring idle runners to work, or start new ones; each that arrives calls this again while there is work."""
        wanted = min(_WAKING, len(self._lanes.startable))
        while self._waking < wanted:
            if self._idle:
                rest = self._idle.pop()
                if rest.cancelled():  # Its runner is on its way already.
                    continue
                rest.set_result(None)
            elif len(self._runners) < self._concurrency:
                runner = Runner()
                self._runners.append(runner)
                self._give_task(runner)
            else:
                return
            self._waking += 1

    def _give_task(self, runner: Runner) -> None:
        """Have a runner go on in a task that no handler has touched."""
        loop, context = asyncio.get_running_loop(), self._inherited.clean.copy()
        if self._inherited.decimals is not None:
            context.run(setcontext, self._inherited.decimals.copy())
        runner.task = loop.create_task(self._run(runner, context.copy()), name=_RUNNER, context=context)
        runner.task.add_done_callback(self._ended)

    # The hot path: each call more that it makes costs a job a percent.

    async def _run(self, runner: Runner, clean: Context) -> bool:
        """Run lane heads until the task is cancelled, each to a durable outcome, and put the lanes back.

        Returns True if another task goes on with that, since a job has changed this one.
        """
        self._waking -= 1
        lanes, take, progressed = self._lanes, self._admission.take, self._reports.progressed
        run, run_suspect = self._runs.run, self._runs.run_suspect
        shared, shared_pool = self._inherited.decimals is not None, self._admission.uses_processes
        name_now = asyncio.current_task().get_name  # type: ignore[union-attr]
        now = monotonic()
        # A handler may have swallowed the cancellation that `stop` sent it.
        while not runner.stopping:
            lane = take(now)
            if lane is None:
                # A partition that is lost meanwhile goes with all that it holds, however long this one rests.
                partition = runner.ctx = None
                now = await self._wait(runner, now)
                continue
            if lanes.startable and self._waking < _WAKING and (self._idle or len(self._runners) < self._concurrency):
                self._wake()
            partition = lane.owner
            runner.lane = lane
            self.active += 1
            try:
                ended = await (run_suspect if partition.crashes.has_suspects else run)(runner, lane, partition, now)
            finally:
                runner.lane = None
                if shared_pool:
                    self._admission.end_run(lane)
                self.active -= 1
                if not self.active:
                    self._quiet.wake_all()
            if ended:
                if self._finish(lane):
                    lanes.add(lane)
                progressed(partition)
            try:
                # Both are as good as free: contexts that share their content are equal without a look at it.
                changed = shared or copy_context() != clean or name_now() is not _RUNNER
            except BaseException:  # A handler has set what cannot be compared.
                changed = True
            if changed and not runner.stopping:
                self._waking += 1
                self._give_task(runner)
                return True
            now = ended or monotonic()
        return False

    async def _wait(self, runner: Runner, now: float) -> float:
        """Wait until there may be a lane to take. Returns the time then.

        Few runners wait for the admission to open, and bring the others to work. One whose jobs never wait works for
        all of a slice of the loop, and another that was woken with it would find nothing; where jobs wait, each takes
        one lane, and has others beside it.
        """
        if runner.watched_until:
            took_some = now > runner.watched_until
            self._watchers = min(self._watchers + 1, self._concurrency) if took_some else max(self._watchers - 1, 1)
        if self._lanes.startable and self._watching < self._watchers:
            await runner.pause(self._watch(now))
            runner.watched_until = now = monotonic()
            return now
        runner.watched_until = 0.0
        await runner.pause(self._rest())
        return monotonic()

    async def _watch(self, now: float) -> None:
        self._watching += 1
        try:
            await self._admission.opened(now)
        finally:
            self._watching -= 1

    async def _rest(self) -> None:
        rest: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(rest)
        try:
            await rest
        finally:
            if not rest.cancelled():
                self._waking -= 1
            elif rest in self._idle:
                self._idle.remove(rest)

    def _ended(self, task: asyncio.Task[bool]) -> None:
        """A runner ends with the executor. Any other end is a fault of ours, and must not go unseen."""
        if self._stopping or (not task.cancelled() and task.exception() is None and task.result()):
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        logger.critical("a runner of queue %s has ended: the worker stops", self.queue, exc_info=error)
        self._fail(error or RuntimeError("a runner has ended"))
