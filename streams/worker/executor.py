"""Runs a queue's ready lanes: a fixed number of runner tasks pull lane heads and bring each to its outcome.

No task is made for a job. A runner is a task that takes one lane head after another, for as long as the worker lives;
idle runners wait for a lane in a stack, so few of them do the work when there is little of it. A run that leaves its
task other than it was (a context variable that is set, a new name) takes it along: the runner goes on in a new one, so
that no later job meets what an earlier one has set. To look for that costs a hundredth of a task.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context, copy_context
from dataclasses import replace
from decimal import setcontext
from math import ceil
from random import random
from time import monotonic, time
from typing import Any

from schemas.headers import CE_ID
from streams.aio.loop_slice import LoopSlice
from streams.aio.wait_list import WaitList
from streams.api.context import JobContext
from streams.core.retry.failure import Failure, is_a
from streams.core.retry.policy import RetryAt
from streams.errors import OutOfThreads
from streams.logs.job_lines import FailureReports, report_done
from streams.ports.records import WorkLane, WorkPartition, origin_of
from streams.worker.admission.lease import GroupLease
from streams.worker.admission.quarantine import Quarantine
from streams.worker.admission.start_block import StartBlock
from streams.worker.admission.suspect import SuspectRun
from streams.worker.garbage_sweep import Sweep
from streams.worker.handlers.calls import HandlerCall, HandlerTable
from streams.worker.handlers.unfinished_work import refuse_unfinished
from streams.worker.outcomes.after_failure import decide_after_failure, waiting
from streams.worker.outcomes.dead_letters import dead_letter_of
from streams.worker.outcomes.follow_ups import FollowUpPublisher
from streams.worker.outcomes.pending_writes import PendingWrites
from streams.worker.outcomes.retry_writer import RetryWriter
from streams.worker.process_pool.shares import Share
from streams.worker.run_context import RunContext
from streams.worker.runner import CancelReason, Runner, failure_of, overran

logger = logging.getLogger(__name__)

#: Runners that may be on their way from idle to work at once; each that arrives wakes the next.
_WAKING = 4

#: How long a stop waits for cancelled handlers. Seconds.
_GRACE = 5.0

#: How often the watchdog looks for runs that take too long. Seconds.
_WATCH_INTERVAL = 0.05


#: How late the watchdog may be until the event loop has stood still. Seconds.
_STANDSTILL = 0.5

#: Ready lanes that are enough for the quickest jobs.
_ENOUGH = 256

_NOTHING: deque[WorkLane] = deque()

#: The name of a runner's task.
_RUNNER = "runner"


class Executor:
    """Runs the ready lanes of one queue in a fixed number of tasks, its runners, and brings each job to its outcome.

    Owned by the worker's event loop: no method may be called from another thread, and none of them blocks.
    """

    def __init__(
        self,
        handlers: HandlerTable,
        follow_ups: FollowUpPublisher,
        writes: PendingWrites,
        quarantine: Quarantine,
        *,
        concurrency: int,
        report_all: bool,
        schema_wait: float = 0.0,
        lease: GroupLease,
        share: Share | None = None,
    ) -> None:
        self.queue = handlers.queue.name
        #: Whether jobs of one key run one after another.
        self.ordered = handlers.queue.order == "key"
        self._handlers = handlers
        self._prepare = handlers.prepare
        self._follow_ups = follow_ups
        self._writes = writes
        self._retry_writer = RetryWriter(writes)
        self._quarantine = quarantine
        quarantine.join(self)
        self._reports = FailureReports(self.queue)
        self._retry_writer.on_written = self._written
        self._retry_writer.on_replaced = self._replaced
        self._concurrency = concurrency
        self._report_all = report_all
        self._patience_ms = round(schema_wait * 1000)
        # More ready lanes than this do not run sooner for being read: they would only fill memory, and the processor's
        # caches, which costs a fifth of the speed.
        self._enough = max(_ENOUGH, concurrency)
        #: Called once when there is no longer enough to run, after `check_and_arm_hungry` has said that there was.
        self.on_hungry: Callable[[], None] = lambda: None
        self._tell_hungry = False
        #: Called when a runner has failed, which ends the worker.
        self.on_failure: Callable[[BaseException], None] = lambda error: None
        writes.on_failure = self._write_failed
        #: Called with the partition whose job has ended.
        self.on_progress: Callable[[WorkPartition], None] = lambda partition: None
        #: Called with the partition whose retry log is another one by now.
        self.on_replaced: Callable[[WorkPartition], None] = lambda partition: None
        self._ready: deque[WorkLane] = deque()
        #: The lane whose head runs alone, on its way to a runner.
        self._alone: deque[WorkLane] = deque()
        self._runners: list[Runner] = []
        self._idle: list[asyncio.Future[None]] = []
        self._waking = 0
        self._blocks: set[StartBlock] = set()
        #: What may be started: all that is ready, unless something blocks starts.
        self._startable = self._ready
        self._slice = LoopSlice()
        self._lease = lease
        self._inherited = RunContext()
        self._sweep = Sweep()
        # The processes of CPU-bound jobs: one that waits for its process has not begun, and occupies no runner.
        self._share = share
        if share is not None:
            share.on_turn = self._submit_first
        self._stopping = False
        #: Jobs that run now.
        self.active = 0
        self._quiet = WaitList()

    def submit(self, lanes: Iterable[WorkLane]) -> None:
        """Take lanes that have become ready."""
        self._ready.extend(lanes)
        self._wake()

    def submit_alone(self, lane: WorkLane) -> None:
        """Take a lane whose head runs alone: StartBlock.ISOLATION does not hold it back."""
        self._alone.append(lane)
        self._wake()

    def _submit_first(self, lane: WorkLane) -> None:
        self._ready.appendleft(lane)
        self._wake()

    @property
    def has_free_runner(self) -> bool:
        """Whether a runner is free, or may be made."""
        return self.active < self._concurrency

    def _replaced(self, partition: WorkPartition) -> None:
        self.on_replaced(partition)

    def check_and_arm_hungry(self) -> bool:
        """Returns whether there is enough to run for now; if so, has `on_hungry` called when that has changed."""
        self._tell_hungry = len(self._ready) >= self._enough
        return self._tell_hungry

    def block(self, reason: StartBlock) -> None:
        """Start no more jobs until the `unblock` of every block, but for `submit_alone`; those that run go on."""
        self._blocks.add(reason)
        self._apply_blocks()

    def unblock(self, reason: StartBlock) -> None:
        """Start jobs again."""
        self._blocks.discard(reason)
        if reason is StartBlock.ISOLATION:
            # It may have been put off before a runner took it.
            self._ready.extend(self._alone)
            self._alone.clear()
        self._apply_blocks()
        self._wake()

    def _apply_blocks(self) -> None:
        if self._share is not None:
            self._ready.extendleft(reversed(self._share.recall()))
        if not self._blocks:
            self._startable = self._ready
        else:
            self._startable = self._alone if self._blocks == {StartBlock.ISOLATION} else _NOTHING

    def stir(self, partition: WorkPartition) -> None:
        """Take the parked lanes of a partition whose time has come."""
        lanes = partition.ready(_now_ms())
        if lanes:
            self.submit(lanes)

    def divert(self, partition: WorkPartition) -> None:
        """Write what was read of parked keys to the retry topic."""
        diverted = partition.take_diverted()
        if diverted:
            self._retry_writer.write(partition, diverted, None)

    def _written(self, partition: WorkPartition) -> None:
        self.stir(partition)
        self.on_progress(partition)

    def _write_failed(self, error: BaseException) -> None:
        logger.critical("a record of queue %s cannot be written: the worker stops", self.queue, exc_info=error)
        self.on_failure(error)

    async def quiet(self) -> None:
        """Wait until no job runs, and no record is on its way to the retry topic or the dead letters."""
        if self.active:
            await self._quiet.wait()
        await self._writes.quiet()

    def forget_lost(self) -> None:
        """Cancel the runs of lost partitions, and drop what they have waiting."""
        self._apply_blocks()
        self._ready = deque(lane for lane in self._ready if not lane.owner.lost)
        self._alone = deque(lane for lane in self._alone if not lane.owner.lost)
        self._apply_blocks()
        if self._tell_hungry and len(self._ready) < self._enough:
            self._tell_hungry = False
            self.on_hungry()
        for runner in self._runners:
            if runner.lane is not None and runner.lane.owner.lost:
                runner.cancel(CancelReason.LOST)
        self._writes.forget_lost()

    @property
    def runners(self) -> list[Runner]:
        """Those that there are. May be called from any thread."""
        return self._runners.copy()

    async def watch(self) -> None:
        """Cancel runs that take too long, and tell of many retries; runs until it is cancelled."""
        now = monotonic()
        while True:
            due = now + _WATCH_INTERVAL
            await asyncio.sleep(_WATCH_INTERVAL)
            now = monotonic()
            self._reports.sum_up(now)
            if now - due > _STANDSTILL:
                self._make_up_for(due, now)
            for runner in self._runners:
                if runner.deadline is not None and runner.deadline <= now:
                    runner.cancel(CancelReason.TIMEOUT)

    def _make_up_for(self, since: float, until: float) -> None:
        """Give runs the time that they have lost while the event loop stood still, but for who has held it."""
        for runner in self._runners:
            if runner.deadline is not None and runner.held_loop < since:
                runner.deadline += until - since

    async def stop(self) -> None:
        """Cancel all runners and wait for their end, but not for handlers that will not be cancelled."""
        self._stopping = True
        tasks = {runner.task for runner in self._runners if runner.task is not None}
        for task in tasks:
            task.cancel()
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
        wanted = min(_WAKING, len(self._startable))
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

    # The next two are the hot path: each call more that they make costs a job a percent.

    async def _run(self, runner: Runner, clean: Context) -> bool:  # noqa: C901
        """Run lane heads until the task is cancelled, each to a durable outcome, and put the lanes back.

        True if another task goes on with that, since a job has changed this one.
        """
        self._waking -= 1
        slice_, lease = self._slice, self._lease
        shared = self._inherited.decimals is not None
        name_now = asyncio.current_task().get_name  # type: ignore[union-attr]
        now = monotonic()
        # A handler may have swallowed the cancellation that `stop` sent it.
        while not self._stopping:
            ready = self._startable
            if not ready or now > lease.until:
                await self._pause(runner, lease.renewed() if ready else self._rest())
                now = monotonic()
                continue
            lane = ready.popleft()
            if self._tell_hungry and len(self._ready) < self._enough:
                self._tell_hungry = False
                self.on_hungry()
            partition = lane.owner
            if partition.lost or ((partition.crashes.has_suspects or self._share) and self._withholds(lane)):
                continue
            if ready and self._waking < _WAKING and (self._idle or len(self._runners) < self._concurrency):
                self._wake()
            runner.lane = lane
            self.active += 1
            try:
                ended = await self._settle(runner, lane, partition, now)
            finally:
                runner.lane = None
                if self._share is not None:
                    self._share.give_back(lane)
                self.active -= 1
                if not self.active:
                    self._quiet.wake_all()
            if ended and self._finish(lane):
                self._ready.append(lane)
            self.on_progress(partition)
            try:
                # Both are as good as free: contexts that share their content are equal without a look at it.
                changed = shared or copy_context() != clean or name_now() is not _RUNNER
            except BaseException:  # A handler has set what cannot be compared.
                changed = True
            if changed and not self._stopping:
                self._waking += 1
                self._give_task(runner)
                return True
            # Jobs that never wait must let the loop turn now and then.
            now = ended or monotonic()
            while not slice_.enter(now):
                await self._pause(runner, slice_.next())
                now = monotonic()
        return False

    def _withholds(self, lane: WorkLane) -> bool:
        """Withhold a lane whose head must wait, for a process or as a suspect. Returns whether that is so."""
        share = self._share
        if share is not None and share.sets_aside(lane):
            return True
        if not lane.owner.crashes.has_suspects:
            return False
        if share is None or share.process_of(lane) is None:
            return self._quarantine.withholds(lane, self)
        lane.owner.crashes.refresh()  # What runs in a process has killed no worker.
        return False

    async def _pause(self, runner: Runner, pause: Coroutine[Any, Any, None]) -> None:
        """Wait between two jobs. Who cancels a runner there, other than a stop, is a handler of the past."""
        try:
            await pause
        except asyncio.CancelledError:
            if self._stopping:
                raise
            runner.clear_cancellation()

    def _finish(self, lane: WorkLane) -> bool:
        """Finish the head of a lane. Returns whether the lane is ready again."""
        partition = lane.owner
        ready = partition.finish(lane)
        if lane.entry is not None and not ready:
            self.stir(partition)
        return ready

    def _ended(self, task: asyncio.Task[bool]) -> None:
        """A runner ends with the executor. Any other end is a fault of ours, and must not go unseen."""
        if self._stopping or (not task.cancelled() and task.exception() is None and task.result()):
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        logger.critical("a runner of queue %s has ended: the worker stops", self.queue, exc_info=error)
        self.on_failure(error or RuntimeError("a runner has ended"))

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

    async def _settle(  # noqa: C901, PLR0912
        self, runner: Runner, lane: WorkLane, partition: WorkPartition, started: float
    ) -> float:
        """Run a job. Returns when it was done; 0.0 if it failed, and is finished later, or its partition was lost."""
        call: HandlerCall | None = None
        suspect: SuspectRun | None = None
        # Whether its failure could not be handled, which ends the worker: it is not cleared by that.
        broken = False
        try:
            try:
                process = None if self._share is None else self._share.process_of(lane)
                if partition.crashes.has_suspects and process is None:
                    suspect = self._quarantine.begin_run(lane)
                parked = lane.entry is not None
                call, payload, ctx, timeout = (
                    await self._prepare_parked(lane, started) if parked else self._prepare(lane)
                )
                runner.ctx = ctx
                if call.ready is not None:
                    timeout += await call.ready()
                if call.watched:
                    runner.deadline = started + timeout
                    result = await call.invoke(payload, ctx)
                else:
                    result = await call.invoke(payload, ctx, timeout, process)
                ended = monotonic()
                if result is not None or runner.held_loop > started:
                    _see_end(runner, result, started, ended)
                runner.deadline = None
                ctx.end()
                if runner.cancelled:
                    await runner.absorb()
                if ctx.follow_ups and not partition.lost:
                    await self._follow_ups.publish(ctx)
            except BaseException as error:
                broken = not is_a(error, OutOfThreads)
                await self._fail(runner, lane, call, error, started)
                broken = False
                return 0.0
        except asyncio.CancelledError:
            if self._stopping:
                raise
            runner.clear_cancellation()  # The partition is lost.
            return 0.0
        finally:
            if suspect is not None:
                suspect.end(cleared=not (self._stopping or partition.lost or broken))
        if self._report_all:
            report_done(self.queue, lane.head.key, ctx.id, monotonic() - started)
        return ended

    async def _prepare_parked(self, lane: WorkLane, started: float) -> tuple[HandlerCall, Any, JobContext, float]:
        """Open the head of a parked lane, as `_open`; the timeout counts from `started`.

        Its writer's schema may be missing: what comes from the queue has waited for its own before it was taken in.
        """
        await self._handlers.fetch_schema(lane)
        waited = monotonic() - started
        call, payload, ctx, timeout = self._prepare(lane)
        return call, payload, ctx, timeout + waited

    async def _fail(
        self, runner: Runner, lane: WorkLane, call: HandlerCall | None, error: BaseException, started: float
    ) -> None:
        """Give up a job that has failed, or have it come back."""
        if runner.ctx is not None:
            runner.ctx.end()
        self._sweep.soon()
        limit = 0.0 if runner.deadline is None else runner.deadline - started
        runner.deadline = None
        self._check_ours(lane, error)
        failed = failure_of(runner, error, limit)
        if is_a(error, asyncio.CancelledError):
            runner.clear_cancellation()
        if runner.cancelled:
            await runner.absorb()
        while monotonic() > self._lease.until and not lane.owner.lost:
            # Perhaps the partition has another owner by now, who should find nothing of ours in the retry topic.
            await self._pause(runner, self._lease.renewed())
        self._check_ours(lane, error)
        now_ms, random_share = ceil(time() * 1000), random()  # noqa: S311 - no secret
        decision, made = decide_after_failure(
            None if call is None else call.retry,
            lane,
            failed,
            now_ms=now_ms,
            random_share=random_share,
            patience_ms=self._patience_ms,
        )
        if isinstance(decision, RetryAt):
            self._requeue(lane, decision, failed if call else waiting(failed, self._patience_ms), started)
        else:
            if call is None:
                self._slice.rest(monotonic())
            self._give_up(lane, _in_full(failed, error, decision.reason_suffix, ran=call is not None), made, started)

    def _check_ours(self, lane: WorkLane, error: BaseException) -> None:
        """Raise CancelledError where a job was cut short and runs again elsewhere, whatever its handler makes of it."""
        if self._stopping or lane.owner.lost:
            raise asyncio.CancelledError from error

    def _give_up(self, lane: WorkLane, failed: Failure, made: int | None, started: float) -> None:
        """Write a dead letter; when the broker has it, the job is finished, and its lane goes on."""
        letter, took = dead_letter_of(lane, failed, made), monotonic() - started
        self._writes.append(letter, lane.owner, lambda _: self._given_up(lane, failed, took), needs_offset=False)

    def _given_up(self, lane: WorkLane, failed: Failure, took: float) -> None:
        self._reports.dead(lane.head.key, _name(lane), failed, took, now=monotonic())
        if self._finish(lane):
            self.submit([lane])
        self.on_progress(lane.owner)

    def _requeue(self, lane: WorkLane, retry_at: RetryAt, failed: Failure, started: float) -> None:
        """Park a job until it runs again."""
        partition = lane.owner
        name, key = _name(lane), lane.head.key
        writes = partition.postpone(lane, retry_at.attempt, retry_at.due_ms)
        self._retry_writer.write(partition, writes, None if failed.snooze else failed)
        now, wait = monotonic(), retry_at.due_ms / 1000 - time()
        self._reports.retry(key, name, failed, now - started, wait=wait, made=retry_at.attempt, now=now)


def _see_end(runner: Runner, result: Any, started: float, ended: float) -> None:
    """Raise if a handler has returned and its job is not done all the same."""
    refuse_unfinished(result)
    deadline = runner.deadline
    if deadline is not None and ended > deadline and runner.held_loop > started:
        # Nothing could cancel it: it held the loop. Who waits while another job does that is not to blame.
        raise overran(deadline - started)


def _now_ms() -> int:
    return int(time() * 1000)


def _in_full(failed: Failure, error: BaseException, suffix: str, *, ran: bool) -> Failure:
    """What a dead letter says of a failure: where it happened, and why there is no retry.

    Of what never `ran` the frames are all the worker's own: they tell nobody anything, and cost more than the rest.
    """
    if not ran:
        failed = replace(failed, stack=f"{failed.error_type}: {failed.message}\n")
    elif not failed.stack:
        failed = failed.with_stack(error, stack_from=error.__traceback__.tb_next if error.__traceback__ else None)
    return replace(failed, message=f"{failed.message} {suffix}") if suffix else failed


def _name(lane: WorkLane) -> str:
    """The id of a job, as far as it can be told without opening it."""
    value = dict(lane.head.headers).get(CE_ID)
    if value:
        return value.decode("utf-8", "backslashreplace")
    topic, partition, offset = origin_of(lane)
    return f"{topic}-{partition}-{offset}"
