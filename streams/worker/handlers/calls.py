"""From a record to a call: decodes the payload, finds the handler, builds the context."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from schemas.codec import Codec
from schemas.errors import HeaderInvalid, RecordRefused, Undecodable
from schemas.headers import (
    CE_ID,
    DEDUP_KEY,
    DUE_DIGITS,
    NOT_BEFORE,
    POSITION,
    Metadata,
    delayed_until,
    is_delayed_id,
    parse,
    quick_identity,
    raise_refusal,
)
from streams.api.context import JobContext
from streams.api.hooks import Around, around_async, around_plain
from streams.api.queue import HandlerKind, JobDefinition, Queue
from streams.core.partition.parked_job import ParkedJob
from streams.core.retry.policy import RetryPolicy
from streams.errors import JobExpired, NoHandler
from streams.ports.records import Record, WorkLane, origin_of
from streams.worker.handlers.processes import ProcessRunner
from streams.worker.handlers.threads import ThreadRunner
from streams.worker.handlers.writer_schemas import await_schema
from streams.worker.outcomes.delays import NotDueYet
from streams.worker.process_pool.child_runs import HandlerAddress
from streams.worker.process_pool.member import Member

logger = logging.getLogger(__name__)

#: Epoch seconds from 2001 to 2100, which as milliseconds are in January 1970.
_LIKE_SECONDS = range(10**9, 4_102_444_800)


@dataclass(frozen=True, slots=True)
class HandlerCall:
    """How an executor runs the jobs of one type: what to call, for how long, and what follows a failure."""

    invoke: Callable[..., Awaitable[Any]]
    #: Seconds after which the worker cancels a run.
    timeout: float
    #: Whether the worker watches the clock; a process pool does so itself.
    watched: bool
    #: What follows a failure.
    retry: RetryPolicy
    #: Waits for what a run needs besides the loop, a thread: the seconds that took, which its timeout does not count.
    ready: Callable[[], Awaitable[float]] | None = None


class HandlerTable:
    """The handlers of one queue by job type: makes a call of each record, for the queue's JobRuns."""

    def __init__(self, queue: Queue, codec: Codec, threads: ThreadRunner, processes: ProcessRunner) -> None:
        self.queue = queue
        self._name = queue.name
        self._codec = codec
        self._decode = codec.decode
        self._in_process = {job.job_type for job in queue if job.kind is HandlerKind.PROCESS}
        self._unheeded_told = self._seconds_told = False
        self._calls = {job.job_type: _call(job, queue.around, threads, processes) for job in queue}

    def prepare(self, lane: WorkLane) -> tuple[HandlerCall, Any, JobContext, float]:
        """Make the head of a lane ready to run: the call, the payload, the context, and the timeout in seconds.

        Raises HeaderInvalid, Undecodable, JobExpired or NoHandler, each of which ends the job as a dead letter, some of
        them only after a wait: see core/unknown_jobs. Raises NotDueYet for a job that is to wait for its time.
        """
        record, entry = lane.head, lane.entry
        headers = record.headers
        try:
            job_type, payload = self._decode(record.value)
        except Undecodable:
            raise_refusal(headers)
            raise
        call = self._calls.get(job_type)
        if call is None:
            raise_refusal(headers)
            raise self._no_handler(job_type)
        job_id = quick_identity(headers)
        if job_id is None:
            metadata = parse(headers, *origin_of(lane))
            _check_expiry(metadata)
            _check_delay(metadata, entry)
            if metadata.not_before is not None and entry is None:
                self._tell_seconds(metadata)
            if metadata.dedup_key is not None:
                self._tell_unheeded(metadata)
            timeout = call.timeout if metadata.timeout_ms is None else metadata.timeout_ms / 1000
            attempt = metadata.attempt if entry is None else entry.attempt
            ctx = JobContext(metadata.id, self._name, record.key, headers, attempt, metadata.parent)
            return call, payload, ctx, timeout
        attempt = 0 if entry is None else entry.attempt
        return call, payload, JobContext(job_id, self._name, record.key, headers, attempt), call.timeout

    def early(self, lane: WorkLane) -> NotDueYet | None:
        """Whether the head of a lane, which nobody here knows, is to wait for its time anyway."""
        try:
            _check_delay(parse(lane.head.headers, *origin_of(lane)), lane.entry)
        except NotDueYet as early:
            return early
        except (HeaderInvalid, RecordRefused):
            pass
        return None

    def in_process(self, lane: WorkLane) -> bool:
        """Whether the head of a lane runs in the process pool, as far as its schema is known."""
        return self._codec.job_type_of_value(lane.head.value) in self._in_process

    async def fetch_schema(self, lane: WorkLane) -> None:
        """Wait for the schema of the head of a lane if it is missing, unless its partition is lost meanwhile."""
        schema_id = self._codec.missing_schema_id(lane.head.value)
        if schema_id is not None:
            who = "job {}-{}-{}".format(*origin_of(lane))
            await await_schema(self._codec, schema_id, who, wanted=lambda: not lane.owner.lost)

    def _tell_unheeded(self, metadata: Metadata) -> None:
        """Say once that a header of a job has no effect yet: whoever sets it believes that it has."""
        if not self._unheeded_told:
            self._unheeded_told = True
            logger.warning("job %s of queue %r has the header %s, which has no effect yet: it runs like any other",
                           metadata.id, self._name, DEDUP_KEY)  # fmt: skip

    def _tell_seconds(self, metadata: Metadata) -> None:
        """Say once that a time is not in milliseconds, as far as can be seen: the job runs at once."""
        if not self._seconds_told and metadata.not_before in _LIKE_SECONDS:
            self._seconds_told = True
            logger.warning("job %s of queue %r has %s=%d, which is a day of 1970 and looks like seconds: it is to be in"
                           " milliseconds, and has run at once", metadata.id, self._name, NOT_BEFORE,
                           metadata.not_before)  # fmt: skip

    def _no_handler(self, job_type: str) -> NoHandler:
        known = ", ".join(sorted(self._calls)) or "nothing"
        return NoHandler(f"queue {self.queue.name!r} has no handler for {job_type}; it handles {known}")


def _check_expiry(metadata: Metadata) -> None:
    if metadata.expires_at is not None:
        late = time() - metadata.expires_at / 1000
        if late >= 0:
            raise JobExpired(f"the job expired {late:.3f} s before it could run")


def _check_delay(metadata: Metadata, entry: ParkedJob[Record] | None) -> None:
    """Raise NotDueYet for a job that was published to run later.

    Of a job that has run, `job-not-before` tells when its retry was due.
    """
    due_ms = metadata.not_before
    if entry is not None:
        if not entry.untried:
            return
        if POSITION in metadata.headers:
            due_ms = delayed_until(tuple(metadata.headers.items()))
    if due_ms is None or due_ms <= time() * 1000:
        return
    if len(str(due_ms)) > DUE_DIGITS:
        raise HeaderInvalid(NOT_BEFORE, b"%d" % due_ms, f"epoch milliseconds of at most {DUE_DIGITS} digits")
    if not is_delayed_id(metadata.id.encode()):
        raise HeaderInvalid(CE_ID, metadata.id.encode(), "of a delayed job one that does not begin with command/ or"
                            " schedule/")  # fmt: skip
    raise NotDueYet(metadata, due_ms)


def _call(job: JobDefinition, hooks: Sequence[Around], threads: ThreadRunner, processes: ProcessRunner) -> HandlerCall:
    return HandlerCall(
        _invocation(job, hooks, threads, processes),
        job.timeout,
        watched=job.kind is not HandlerKind.PROCESS,
        retry=job.retry,
        ready=threads.ready if job.kind is HandlerKind.THREAD else None,
    )


def _invocation(
    job: JobDefinition, hooks: Sequence[Around], threads: ThreadRunner, processes: ProcessRunner
) -> Callable[..., Awaitable[Any]]:
    handler = job.handler
    if job.kind is HandlerKind.ASYNC:
        return around_async(hooks, handler)
    if job.kind is HandlerKind.THREAD:
        handler = around_plain(hooks, handler)

        async def in_thread(payload: Any, ctx: JobContext) -> None:
            await threads.run(handler, payload, ctx)

        return in_thread

    address = HandlerAddress.of(handler, hooks)

    async def in_process(payload: Any, ctx: JobContext, timeout: float, process: Member | None) -> None:
        await processes.run(address, payload, ctx, timeout, process)

    return in_process
