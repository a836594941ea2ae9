"""The life of a job from when a runner takes it: prepared, run, and then done, parked, or a dead letter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from random import random
from sys import getrefcount
from time import monotonic, time
from typing import Any

from schemas.headers import CE_ID
from streams.api.context import JobContext
from streams.core.retry.failure import Failure, is_a
from streams.core.retry.policy import RetryAt
from streams.core.retry.unknown_jobs import MAY_BE_KNOWN_LATER
from streams.errors import KilledItsWorkers, OutOfThreads
from streams.ports.events import JobEvents, JobInfo
from streams.ports.records import WorkLane, WorkPartition, origin_of
from streams.worker.admission.admission import Admission
from streams.worker.admission.lease import GroupLease
from streams.worker.handlers.calls import HandlerCall, HandlerTable
from streams.worker.handlers.own_frames import without_own
from streams.worker.handlers.unfinished_work import refuse_unfinished
from streams.worker.outcomes.after_failure import decide_after_failure, waiting
from streams.worker.outcomes.dead_letters import dead_letter_of
from streams.worker.outcomes.delays import NotDueYet, delayed_record
from streams.worker.outcomes.follow_ups import FollowUpPublisher
from streams.worker.outcomes.pending_writes import PendingWrites
from streams.worker.outcomes.retry_writer import RetryWriter
from streams.worker.runner import Runner, failure_of, overran
from streams.worker.upkeep.garbage_sweep import Sweep


class JobRuns:
    """Runs the jobs of one queue, each to its outcome, for the runners of its QueueExecutor.

    schema_wait  seconds that a job waits that no worker knows yet
    ended        called with the lane of a job that has its outcome in another topic: its head is to be finished
    """

    def __init__(
        self,
        handlers: HandlerTable,
        admission: Admission,
        *,
        lease: GroupLease,
        follow_ups: FollowUpPublisher,
        writes: PendingWrites,
        retry_writer: RetryWriter,
        events: JobEvents,
        schema_wait: float,
        ended: Callable[[WorkLane], None],
    ) -> None:
        self._queue = handlers.queue.name
        self._handlers = handlers
        self._prepare = handlers.prepare
        self._admission = admission
        self._lease = lease
        self._follow_ups = follow_ups
        self._writes = writes
        self._retry_writer = retry_writer
        self._events = events
        self._started, self._done = events.started, events.done
        self._patience_ms = round(schema_wait * 1000)
        self._on_ended = ended
        self._sweep = Sweep()

    # The hot path: each call more that it makes costs a job a percent.

    async def run(self, runner: Runner, lane: WorkLane, partition: WorkPartition, started: float) -> float:
        """Run the head of a lane.

        Returns when it was done; 0.0 if it has failed, and is finished later, or its partition was lost. Raises
        CancelledError where the runner is to stop, and what ends the worker.
        """
        call: HandlerCall | None = None
        try:
            call, payload, ctx, timeout = (
                self._prepare(lane) if lane.entry is None else await self._prepare_parked(lane, started)
            )
            runner.ctx = ctx
            if call.ready is not None:
                timeout += await call.ready()
            if self._started is not None:
                self._started(self._info(lane, ctx.id))
            if call.watched:
                runner.deadline = started + timeout
                result = await call.invoke(payload, ctx)
            else:
                result = await call.invoke(payload, ctx, timeout, self._admission.process_of(lane))
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
            self._sweep.after(getrefcount(error), error)
            await self._settle(runner, lane, call, error, started)
            return 0.0
        if self._done is not None:
            self._done(self._info(lane, ctx.id), monotonic() - started)
        return ended

    async def run_suspect(self, runner: Runner, lane: WorkLane, partition: WorkPartition, started: float) -> float:
        """Run the head of a lane whose partition has suspects, as `run`. A suspect is cleared by any outcome."""
        try:
            suspect = self._admission.begin_run(lane)
        except KilledItsWorkers as error:
            await self._settle(runner, lane, None, error, started)
            return 0.0
        if suspect is None:
            return await self.run(runner, lane, partition, started)
        cleared = False
        try:
            ended = await self.run(runner, lane, partition, started)
            cleared = True
        except OutOfThreads:
            cleared = True
            raise
        finally:
            suspect.end(cleared=cleared and not (runner.stopping or partition.lost))
        return ended

    async def _prepare_parked(self, lane: WorkLane, started: float) -> tuple[HandlerCall, Any, JobContext, float]:
        """Prepare the head of a parked lane, as `HandlerTable.prepare`; the timeout counts from `started`.

        Its writer's schema may be missing: what comes from the queue has waited for its own before it was taken in.
        """
        await self._handlers.fetch_schema(lane)
        waited = monotonic() - started
        call, payload, ctx, timeout = self._prepare(lane)
        return call, payload, ctx, timeout + waited

    # -- failures ------------------------------------------------------------------------------------------------------

    async def _settle(
        self, runner: Runner, lane: WorkLane, call: HandlerCall | None, error: BaseException, started: float
    ) -> None:
        """Bring a run that has failed to its outcome, unless its partition is lost."""
        try:
            await self._fail(runner, lane, call, error, started)
        except asyncio.CancelledError:
            if runner.stopping:
                raise
            self._sweep.soon()  # What was raised again may be in a cycle by that.
            runner.clear_cancellation()  # The partition is lost.

    async def _fail(
        self, runner: Runner, lane: WorkLane, call: HandlerCall | None, error: BaseException, started: float
    ) -> None:
        """Give up a job that has failed, or have it come back, or wait for its time.

        Raises CancelledError if it runs again elsewhere.
        """
        failed = await self._take_failure(runner, lane, error, started)
        # Not isinstance(): what a handler raises may answer no question.
        early = error if type(error) is NotDueYet else None
        if call is None and failed.error_type in MAY_BE_KNOWN_LATER:
            early = self._handlers.early(lane)
        if early is not None:
            self._writes.append(
                delayed_record(lane, early, self._queue),
                lane.owner,
                lambda _offset: self._on_ended(lane),
                needs_offset=False,
            )
            return
        info = self._info(lane, _name(lane))
        if self._events.failed is not None:
            self._events.failed(info, failed, monotonic() - started)
        decision, made = decide_after_failure(
            None if call is None else call.retry,
            lane,
            failed,
            now_ms=ceil(time() * 1000),
            random_share=random(),  # noqa: S311 - no secret
            patience_ms=self._patience_ms,
        )
        if isinstance(decision, RetryAt):
            self._requeue(lane, info, decision, failed if call else waiting(failed, self._patience_ms), started)
            return
        if call is None:
            self._admission.rest(monotonic())
        failed = _in_full(failed, error, decision.reason_suffix, ran=call is not None)
        self._give_up(lane, info, failed, made, started)

    async def _take_failure(self, runner: Runner, lane: WorkLane, error: BaseException, started: float) -> Failure:
        """End a run that has raised, its cancellation included. Returns why it failed, once that may be written."""
        if runner.ctx is not None:
            runner.ctx.end()
        limit = 0.0 if runner.deadline is None else runner.deadline - started
        runner.deadline = None
        _check_ours(runner, lane, error)
        failed = failure_of(runner, error, limit)
        if is_a(error, asyncio.CancelledError):
            runner.clear_cancellation()
        if runner.cancelled:
            await runner.absorb()
        while monotonic() > self._lease.until and not lane.owner.lost:
            # Perhaps the partition has another owner by now, who should find nothing of ours in the retry topic.
            await runner.pause(self._lease.renewed())
        _check_ours(runner, lane, error)
        return failed

    def _give_up(self, lane: WorkLane, info: JobInfo, failed: Failure, made: int | None, started: float) -> None:
        """Write a dead letter; when the broker has it, the job is finished, and its lane goes on."""
        letter, took = dead_letter_of(lane, failed, made), monotonic() - started

        def written(_offset: int | None) -> None:
            if self._events.dead is not None:
                self._events.dead(info, failed, took)
            self._on_ended(lane)

        self._writes.append(letter, lane.owner, written, needs_offset=False)

    def _requeue(self, lane: WorkLane, info: JobInfo, retry_at: RetryAt, failed: Failure, started: float) -> None:
        """Park a job until it runs again."""
        partition = lane.owner
        failure = None if failed.snooze else (failed.error_type, failed.message)
        writes = partition.postpone(lane, retry_at.attempt, retry_at.due_ms, int(time() * 1000), failure)
        self._retry_writer.write(partition, writes)
        if self._events.parked is not None:
            wait = retry_at.due_ms / 1000 - time()
            self._events.parked(info, failed, monotonic() - started, wait, retry_at.attempt)

    def _info(self, lane: WorkLane, name: str) -> JobInfo:
        attempt = 0 if lane.entry is None else lane.entry.attempt
        return JobInfo(self._queue, name, lane.head.key, attempt, origin_of(lane))


def _check_ours(runner: Runner, lane: WorkLane, error: BaseException) -> None:
    """Raise CancelledError where a job was cut short and runs again elsewhere, whatever its handler makes of it."""
    if runner.stopping or lane.owner.lost:
        raise asyncio.CancelledError from error


def _see_end(runner: Runner, result: Any, started: float, ended: float) -> None:
    """Raise if a handler has returned and its job is not done all the same."""
    refuse_unfinished(result)
    deadline = runner.deadline
    if deadline is not None and ended > deadline and runner.held_loop > started:
        # Nothing could cancel it: it held the loop. Who waits while another job does that is not to blame.
        raise overran(deadline - started)


def _in_full(failed: Failure, error: BaseException, suffix: str, *, ran: bool) -> Failure:
    """What a dead letter says of a failure: where it happened, and why there is no retry.

    Of what never `ran` the frames are all the worker's own: they tell nobody anything, and cost more than the rest.
    """
    if not ran:
        failed = replace(failed, stack=f"{failed.error_type}: {failed.message}\n")
    elif not failed.stack:
        failed = failed.with_stack(error, stack_from=without_own(error.__traceback__))
    return replace(failed, message=f"{failed.message} {suffix}") if suffix else failed


def _name(lane: WorkLane) -> str:
    """The id of a job, as far as it can be told without opening it."""
    value = dict(lane.head.headers).get(CE_ID)
    if value:
        return value.decode("utf-8", "backslashreplace")
    topic, partition, offset = origin_of(lane)
    return f"{topic}-{partition}-{offset}"
