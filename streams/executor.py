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
from streams.appending import Appends
from streams.context import JobContext
from streams.core.outcome import Failed, is_a
from streams.core.retry import Again
from streams.errors import OutOfThreads
from streams.failing import judge, waiting
from streams.handling import Call, Handling
from streams.holds import Hold
from streams.lease import Lease
from streams.outcomes import Outcomes
from streams.process_pool.shares import Share
from streams.quiet import Quiet
from streams.reporting import FailureReports, report_done
from streams.retrying import Retries
from streams.run_context import RunContext
from streams.runner import Cut, Runner, explain, overran
from streams.sweep import Sweep
from streams.trial import Trial
from streams.trials import Trials
from streams.turn import Turn
from streams.unfinished_work import refuse_unfinished
from streams.work import WorkLane, WorkPartition, place_of

logger = logging.getLogger("streams.executor")

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
    """The runners of one queue.

    Owned by the worker's event loop: no method may be called from another thread, and none of them blocks.
    """

    def __init__(
        self,
        handling: Handling,
        outcomes: Outcomes,
        appends: Appends,
        trials: Trials,
        *,
        concurrency: int,
        report_all: bool,
        schema_wait: float = 0.0,
        lease: Lease,
        share: Share | None = None,
    ) -> None:
        self.queue = handling.queue.name
        #: Whether jobs of one key run one after another.
        self.ordered = handling.queue.order == "key"
        self._handling = handling
        self._open = handling.open
        self._outcomes = outcomes
        self._appends = appends
        self._retries = Retries(appends)
        self._trials = trials
        trials.join(self)
        self._reports = FailureReports(self.queue)
        self._retries.on_written = self._written
        self._retries.on_replaced = self._replaced
        self._concurrency = concurrency
        self._report_all = report_all
        self._patience_ms = round(schema_wait * 1000)
        # More ready lanes than this do not run sooner for being read: they would only fill memory, and the processor's
        # caches, which costs a fifth of the speed.
        self._enough = max(_ENOUGH, concurrency)
        #: Called once when there is no longer enough to run, after `satiated` has said that there was.
        self.on_hungry: Callable[[], None] = lambda: None
        self._tell_hungry = False
        #: Called when a runner has failed, which ends the worker.
        self.on_failure: Callable[[BaseException], None] = lambda error: None
        appends.on_failure = self._write_failed
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
        self._holds: set[Hold] = set()
        #: What may be started: all that is ready, unless there is a hold.
        self._startable = self._ready
        self._turn = Turn()
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
        self._quiet = Quiet()

    def submit(self, lanes: Iterable[WorkLane]) -> None:
        """Take lanes that have become ready."""
        self._ready.extend(lanes)
        self._wake()

    def submit_alone(self, lane: WorkLane) -> None:
        """Take a lane whose head runs alone: Hold.TRIAL does not hold it back."""
        self._alone.append(lane)
        self._wake()

    def _submit_first(self, lane: WorkLane) -> None:
        self._ready.appendleft(lane)
        self._wake()

    @property
    def roomy(self) -> bool:
        """Whether a runner is free, or may be made."""
        return self.active < self._concurrency

    def _replaced(self, partition: WorkPartition) -> None:
        self.on_replaced(partition)

    def satiated(self) -> bool:
        """Whether there is enough to run for now; if so, `on_hungry` is called when that has changed."""
        self._tell_hungry = len(self._ready) >= self._enough
        return self._tell_hungry

    def hold(self, reason: Hold) -> None:
        """Start no more jobs until the `release` of every hold, but for `submit_alone`; those that run go on."""
        self._holds.add(reason)
        self._see_holds()

    def release(self, reason: Hold) -> None:
        """Start jobs again."""
        self._holds.discard(reason)
        if reason is Hold.TRIAL:
            # It may have been put off before a runner took it.
            self._ready.extend(self._alone)
            self._alone.clear()
        self._see_holds()
        self._wake()

    def _see_holds(self) -> None:
        if self._share is not None:
            self._ready.extendleft(reversed(self._share.recall()))
        if not self._holds:
            self._startable = self._ready
        else:
            self._startable = self._alone if self._holds == {Hold.TRIAL} else _NOTHING

    def stir(self, partition: WorkPartition) -> None:
        """Take the lines of a partition whose time has come."""
        lines = partition.ready(_now_ms())
        if lines:
            self.submit(lines)

    def divert(self, partition: WorkPartition) -> None:
        """Write what was read of parked keys to the retry topic."""
        diverted = partition.take_diverted()
        if diverted:
            self._retries.write(partition, diverted, None)

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
        await self._appends.quiet()

    def forget_lost(self) -> None:
        """Cancel the runs of lost partitions, and drop what they have waiting."""
        self._see_holds()
        self._ready = deque(lane for lane in self._ready if not lane.owner.lost)
        self._alone = deque(lane for lane in self._alone if not lane.owner.lost)
        self._see_holds()
        if self._tell_hungry and len(self._ready) < self._enough:
            self._tell_hungry = False
            self.on_hungry()
        for runner in self._runners:
            if runner.lane is not None and runner.lane.owner.lost:
                runner.cancel(Cut.LOST)
        self._appends.forget_lost()

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
                    runner.cancel(Cut.TIMEOUT)

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
        self._appends.stop()

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
        turn, lease = self._turn, self._lease
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
            if partition.lost or ((partition.cautious or self._share) and self._sets_aside(lane)):
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
                    self._quiet.tell()
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
            while turn.over(now):
                await self._pause(runner, turn.next())
                now = monotonic()
        return False

    def _sets_aside(self, lane: WorkLane) -> bool:
        """Whether the head of a lane must wait: for a process, or since it may have killed a worker."""
        share = self._share
        if share is not None and share.sets_aside(lane):
            return True
        if not lane.owner.cautious:
            return False
        if share is None or share.process_of(lane) is None:
            return self._trials.sets_aside(lane, self)
        lane.owner.relax()  # What runs in a process has killed no worker.
        return False

    async def _pause(self, runner: Runner, pause: Coroutine[Any, Any, None]) -> None:
        """Wait between two jobs. Who cancels a runner there, other than a stop, is a handler of the past."""
        try:
            await pause
        except asyncio.CancelledError:
            if self._stopping:
                raise
            runner.restore()

    def _finish(self, lane: WorkLane) -> bool:
        """Finish the head of a lane; whether the lane is ready again."""
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
        """Run a job; when it was done. 0.0 if it has failed, and is finished later, or its partition was lost."""
        call: Call | None = None
        trial: Trial | None = None
        # Whether its failure could not be dealt with, which ends the worker: it is not cleared by that.
        broken = False
        try:
            try:
                process = None if self._share is None else self._share.process_of(lane)
                if partition.cautious and process is None:
                    trial = self._trials.enter(lane)
                parked = lane.entry is not None
                call, payload, ctx, timeout = await self._open_parked(lane, started) if parked else self._open(lane)
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
                    await self._outcomes.publish(ctx)
            except BaseException as error:
                broken = not is_a(error, OutOfThreads)
                await self._fail(runner, lane, call, error, started)
                broken = False
                return 0.0
        except asyncio.CancelledError:
            if self._stopping:
                raise
            runner.restore()  # The partition is lost.
            return 0.0
        finally:
            if trial is not None:
                trial.end(cleared=not (self._stopping or partition.lost or broken))
        if self._report_all:
            report_done(self.queue, lane.head.key, ctx.id, monotonic() - started)
        return ended

    async def _open_parked(self, lane: WorkLane, started: float) -> tuple[Call, Any, JobContext, float]:
        """Open the head of a line, as `_open`; the timeout counts from `started`.

        Its writer's schema may be missing: what comes from the queue has waited for its own before it was taken in.
        """
        await self._handling.fetch_schema(lane)
        waited = monotonic() - started
        call, payload, ctx, timeout = self._open(lane)
        return call, payload, ctx, timeout + waited

    async def _fail(
        self, runner: Runner, lane: WorkLane, call: Call | None, error: BaseException, started: float
    ) -> None:
        """Bury a job that has failed, or have it come back."""
        if runner.ctx is not None:
            runner.ctx.end()
        self._sweep.soon()
        limit = 0.0 if runner.deadline is None else runner.deadline - started
        runner.deadline = None
        self._check_ours(lane, error)
        failed = explain(runner, error, limit)
        if runner.cancelled:
            await runner.absorb()
        while monotonic() > self._lease.until and not lane.owner.lost:
            # Perhaps the partition has another owner by now, who should find nothing of ours in the retry topic.
            await self._pause(runner, self._lease.renewed())
        self._check_ours(lane, error)
        now_ms, luck = ceil(time() * 1000), random()  # noqa: S311 - no secret
        decision, made = judge(call, lane, failed, now_ms=now_ms, luck=luck, patience_ms=self._patience_ms)
        if isinstance(decision, Again):
            self._postpone(lane, decision, failed if call else waiting(failed, self._patience_ms), started)
        else:
            if call is None:
                self._turn.rest(monotonic())
            self._bury(lane, _in_full(failed, error, decision.reason_suffix, ran=call is not None), made, started)

    def _check_ours(self, lane: WorkLane, error: BaseException) -> None:
        """Raise CancelledError where a job was cut short and runs again elsewhere, whatever its handler makes of it."""
        if self._stopping or lane.owner.lost:
            raise asyncio.CancelledError from error

    def _bury(self, lane: WorkLane, failed: Failed, made: int | None, started: float) -> None:
        """Write a dead letter; when the broker has it, the job is finished, and its lane goes on."""
        letter, took = self._outcomes.letter(lane, failed, made), monotonic() - started
        self._appends.begin(letter, lane.owner, lambda _: self._buried(lane, failed, took), placed=False)

    def _buried(self, lane: WorkLane, failed: Failed, took: float) -> None:
        self._reports.dead(lane.head.key, _name(lane), failed, took, now=monotonic())
        if self._finish(lane):
            self.submit([lane])
        self.on_progress(lane.owner)

    def _postpone(self, lane: WorkLane, again: Again, failed: Failed, started: float) -> None:
        """Park a job until it runs again."""
        partition = lane.owner
        name, key = _name(lane), lane.head.key
        writes = partition.postpone(lane, again.attempt, again.due_ms)
        self._retries.write(partition, writes, None if failed.snooze else failed)
        now, wait = monotonic(), again.due_ms / 1000 - time()
        self._reports.retry(key, name, failed, now - started, wait=wait, made=again.attempt, now=now)


def _see_end(runner: Runner, result: Any, started: float, ended: float) -> None:
    """Raise if a handler has returned and its job is not done all the same."""
    refuse_unfinished(result)
    deadline = runner.deadline
    if deadline is not None and ended > deadline and runner.held_loop > started:
        # Nothing could cancel it: it held the loop. Who waits while another job does that is not to blame.
        raise overran(deadline - started)


def _now_ms() -> int:
    return int(time() * 1000)


def _in_full(failed: Failed, error: BaseException, suffix: str, *, ran: bool) -> Failed:
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
    topic, partition, offset = place_of(lane)
    return f"{topic}-{partition}-{offset}"
