"""Queues and handlers, as a job module declares them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Any, Literal, TypeVar, get_type_hints

from producers.routing.topics import RESERVED_QUEUES, RESERVED_SUFFIXES
from schemas.catalog import Catalog
from streams.api.context import JobContext
from streams.api.hooks import Around, check_hooks, name_of_hook, only_async
from streams.core.retry.policy import DEFAULT_RETRY, RetryPolicy
from streams.errors import DefinitionError

T = TypeVar("T")
Handler = Callable[[T, JobContext], Any]
F = TypeVar("F", bound=Callable[..., Any])

#: A handler that says nothing else may run this long. Seconds.
DEFAULT_TIMEOUT = 600.0

#: Partitions, or jobs at once, and seconds of a timeout: what Kafka can tell of, and thirty thousand years.
_MOST, _LONGEST = 2**31 - 1, 10**12

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")


class HandlerKind(Enum):
    """Where a handler runs."""

    ASYNC = "async"
    THREAD = "thread"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class JobDefinition:
    """A handler and what was declared with it."""

    job_type: str
    model: type
    handler: Callable[..., Any]
    kind: HandlerKind
    #: Seconds a run may take.
    timeout: float
    #: When it is tried again after a failure.
    retry: RetryPolicy = DEFAULT_RETRY


class Queue:
    """A named queue: its topic, its handlers, and how many of its jobs run at once in one worker.

    partitions   of the topic, when the worker creates it; the most workers that can share the queue
    pool         the workers that serve it (STREAMS_POOL)
    concurrency  jobs of this queue at once in one worker; default STREAMS_CONCURRENCY, or the number of processes
                 (STREAMS_PROCESSES) when a handler of the queue is CPU-bound
    retry        when its jobs are tried again after a failure, unless a handler says otherwise; NO_RETRY: never
    order        "key": jobs of one key run one after another, also through failures; "none": each for itself
    around       what to do around each run, as to close connections: a function from the job and its context to a
                 context manager, or several, the outermost first. It is entered and left where the handler runs, in its
                 thread, process and context, whatever becomes of the run. An async one is for async handlers alone

    Raises DefinitionError for names and numbers that cannot work.
    """

    def __init__(
        self,
        name: str,
        *,
        partitions: int = 12,
        pool: str = "default",
        concurrency: int | None = None,
        retry: RetryPolicy = DEFAULT_RETRY,
        order: Literal["key", "none"] = "key",
        around: Around | Sequence[Around] | None = None,
    ) -> None:
        _check_name("queue", name)
        _check_name("pool", pool)
        _check_count("partitions", partitions)
        if concurrency is not None:
            _check_count("concurrency", concurrency)
        _check_retry(retry)
        if order not in ("key", "none"):
            raise DefinitionError(
                f'order must be "key" (jobs of one key one after another) or "none" (each for itself), not {order!r}'
            )
        self.name = name
        self.partitions = partitions
        self.pool = pool
        self.concurrency = concurrency
        self.retry = retry
        self.order = order
        self.around = check_hooks(around)
        self._jobs: dict[str, JobDefinition] = {}

    def __repr__(self) -> str:
        return f"Queue({self.name!r}, partitions={self.partitions}, pool={self.pool!r})"

    def __iter__(self) -> Iterator[JobDefinition]:
        return iter(self._jobs.values())

    def get(self, job_type: str) -> JobDefinition | None:
        """The definition for a job type, if this queue has one."""
        return self._jobs.get(job_type)

    @property
    def cpu_bound(self) -> bool:
        """Whether any handler runs in the process pool."""
        return any(job.kind is HandlerKind.PROCESS for job in self)

    def job(
        self,
        model: type,
        *,
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        cpu_bound: bool = False,
        retry: RetryPolicy | None = None,
    ) -> Callable[[F], F]:
        """Declare the handler of a job type: `async def handler(job, ctx)`, or a plain function.

        timeout    seconds (or a timedelta) one run may take; then it is cancelled, or its process killed
        cpu_bound  run a plain function in the process pool instead of a thread
        retry      when it is tried again after a failure; default the queue's

        Returns the function unchanged. Raises DefinitionError for what cannot work.
        """
        if not isinstance(model, type):
            raise DefinitionError(
                f"declare a handler with its payload's class, as in @queue.job(SendEmail), not {model!r}"
            )
        job_type = Catalog.job_type_of(model)
        seconds = _check_timeout(timeout)
        policy = self.retry if retry is None else _check_retry(retry)

        def declare(handler: F) -> F:
            kind = _kind(handler, cpu_bound=cpu_bound)
            _check_signature(handler)
            _check_annotation(handler, model)
            _check_hooks_fit(self.around, handler, kind)
            earlier = self._jobs.get(job_type)
            if earlier is not None:
                raise DefinitionError(
                    f"queue {self.name!r} has two handlers for {job_type}: {_where(earlier.handler)} and"
                    f" {_where(handler)}; keep one, or declare the other on a queue of its own"
                )
            self._jobs[job_type] = JobDefinition(job_type, model, handler, kind, seconds, policy)
            return handler

        return declare


def _check_name(what: str, name: str) -> None:
    if not isinstance(name, str) or not _NAME.match(name) or len(name) > 100:
        raise DefinitionError(
            f"{name!r} cannot name a {what}: use up to 100 letters, digits, '-' and '_', such as 'email'"
        )
    if what == "queue" and name in RESERVED_QUEUES | RESERVED_SUFFIXES:
        raise DefinitionError(f"{name!r} is the name of a topic of the system's own; give the queue another name")


def _check_count(what: str, count: int) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise DefinitionError(f"{what} must be a whole number from 1 on, not {count!r}")
    if count > _MOST:
        raise DefinitionError(f"{what} must be {_MOST:,} at the most, not {count!r}")


def _check_timeout(timeout: float | timedelta) -> float:
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 < seconds < _LONGEST:
        raise DefinitionError(f"timeout must be a number of seconds above 0 and below {_LONGEST:,}, not {timeout!r}")
    return float(seconds)


def _check_retry(retry: RetryPolicy) -> RetryPolicy:
    if not isinstance(retry, RetryPolicy):
        raise DefinitionError(f"retry takes a policy, such as RetryPolicy(max_attempts=5), or NO_RETRY; not {retry!r}")
    return retry


def _kind(handler: Callable[..., Any], *, cpu_bound: bool) -> HandlerKind:
    if not callable(handler):
        raise DefinitionError(f"a handler is a function, not {handler!r}")
    if _is(handler, inspect.isgeneratorfunction) or _is(handler, inspect.isasyncgenfunction):
        raise DefinitionError(f"{_where(handler)} yields; a handler returns when the job is done")
    if not _is(handler, inspect.iscoroutinefunction):
        if cpu_bound and not _importable(handler):
            raise DefinitionError(
                f"{_where(handler)} is CPU-bound, so another process must be able to import it: move it to the top"
                " level of its module"
            )
        return HandlerKind.PROCESS if cpu_bound else HandlerKind.THREAD
    if cpu_bound:
        raise DefinitionError(f"{_where(handler)} is CPU-bound and async: make it a plain `def`, or drop cpu_bound")
    return HandlerKind.ASYNC


def _is(handler: Callable[..., Any], what: Callable[[object], bool]) -> bool:
    """Whether a handler is of a kind of function, or an instance whose call is one."""
    while isinstance(handler, partial):
        handler = handler.func
    return what(handler) or what(getattr(handler, "__call__", None))  # noqa: B004 - the method of an instance counts


def _importable(handler: Callable[..., Any]) -> bool:
    name = getattr(handler, "__qualname__", "<none>")
    return name.isidentifier() and getattr(handler, "__module__", None) not in (None, "__main__")


def _check_signature(handler: Callable[..., Any]) -> None:
    try:
        inspect.signature(handler).bind(object(), object())
    except (TypeError, ValueError):
        raise DefinitionError(
            f"{_where(handler)} must take the job and its context: `def {getattr(handler, '__name__', 'handler')}"
            "(job, ctx)`"
        ) from None


def _check_annotation(handler: Callable[..., Any], model: type) -> None:
    """Refuse a handler whose job is annotated as another model than it is declared for."""
    try:
        hints = get_type_hints(handler)
        first = next(iter(inspect.signature(handler).parameters))
    except Exception:  # Annotations may name what only a type checker imports.
        return
    said = hints.get(first)
    if isinstance(said, type) and isinstance(said.__dict__.get("JOB_TYPE"), str) and said is not model:
        raise DefinitionError(
            f"{_where(handler)} is declared for {model.__name__} and annotated as taking {said.__name__}: make them the"
            " same"
        )


def _check_hooks_fit(hooks: Sequence[Around], handler: Callable[..., Any], kind: HandlerKind) -> None:
    for hook in hooks:
        name = name_of_hook(hook)
        if kind is not HandlerKind.ASYNC and only_async(hook):
            raise DefinitionError(
                f"{name} is async and {_where(handler)} is not: make the hook a plain context manager, which fits both"
            )
        if kind is HandlerKind.PROCESS and not _importable(hook):
            raise DefinitionError(
                f"{_where(handler)} is CPU-bound, so another process must be able to import {name}, the hook around it:"
                " move it to the top level of its module"
            )


def _where(handler: Callable[..., Any]) -> str:
    return f"{getattr(handler, '__module__', '?')}.{getattr(handler, '__qualname__', repr(handler))}"
