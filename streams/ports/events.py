"""What happens to a worker's jobs and partitions, for whoever wants to know: logs, metrics, journals, traces.

The worker tells of events, and nothing in it depends on who listens. Whoever listens is named once, where the worker
is put together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from time import monotonic
from typing import Concatenate, Generic, NamedTuple, ParamSpec

from schemas.headers import Origin
from streams.core.retry.failure import Failure
from streams.ports.records import TopicPartition

logger = logging.getLogger(__name__)

P = ParamSpec("P")

#: Seconds between two lines about listeners of one event that fail.
_SAME_AGAIN = 60.0


class JobInfo(NamedTuple):
    """A job, as events name it.

    id       as far as the record tells it; else its topic, partition and offset
    attempt  how many attempts were made before this run
    origin   where it was read: topic, partition and offset
    """

    queue: str
    id: str
    key: bytes | None
    attempt: int
    origin: Origin


class JobListener:
    """Hears of events: a listener overrides what it wants to hear of. What is not overridden costs nothing.

    All methods are called on the worker's event loop, between two jobs, so they must be quick and never block. What one
    raises is logged and goes no further: neither the job nor the other listeners know of it. Seconds are those of a run
    since its start.
    """

    def started(self, job: JobInfo) -> None:
        """A job's handler is about to be called."""

    def done(self, job: JobInfo, seconds: float) -> None:
        """A job has succeeded, and its follow-up jobs are published."""

    def failed(self, job: JobInfo, failure: Failure, seconds: float) -> None:
        """A run has failed, or could not even begin; `parked` or `dead` follow."""

    def parked(self, job: JobInfo, failure: Failure, seconds: float, wait: float, made: int) -> None:
        """A job comes back, `wait` seconds from now, after so many attempts made."""

    def dead(self, job: JobInfo, failure: Failure, seconds: float) -> None:
        """A job was given up, and its dead letter is written."""

    def finished(self, tp: TopicPartition) -> None:
        """Something of a partition is finished: the next commit may say more."""

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions are this worker's, and open."""

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions are no longer this worker's, or are to be opened again."""

    def committed(self, watermarks: Mapping[TopicPartition, int]) -> None:
        """The broker holds commits: by partition, retry topics included, the offset below which all is finished."""

    def tick(self, now: float) -> None:
        """Time goes on: called many times a second, with the monotonic time."""


class Event(Generic[P]):
    """One kind of event, and those who hear of it; calling it tells them, and raises nothing."""

    __slots__ = ("_listeners", "_quiet_until")

    def __init__(self, listeners: Sequence[Callable[P, None]]) -> None:
        self._listeners = tuple(listeners)
        self._quiet_until = 0.0

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        for listener in self._listeners:
            try:
                listener(*args, **kwargs)
            except BaseException as error:
                self._log(listener, error)

    def _log(self, listener: Callable[P, None], error: BaseException) -> None:
        now = monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _SAME_AGAIN
            name = getattr(listener, "__qualname__", "a listener")
            logger.error("%s has failed, and is told of the next event all the same", name, exc_info=error)


class JobEvents:
    """All events of a worker, each None where nobody listens.

    Who tells of one asks for that: `if events.done is not None: events.done(job, seconds)`.
    """

    __slots__ = (
        "assigned", "committed", "dead", "done", "failed", "finished", "parked", "revoked", "started", "tick",
    )  # fmt: skip

    def __init__(self, listeners: Iterable[JobListener] = ()) -> None:
        those = [*listeners]
        self.started = _event(JobListener.started, [each.started for each in those])
        self.done = _event(JobListener.done, [each.done for each in those])
        self.failed = _event(JobListener.failed, [each.failed for each in those])
        self.parked = _event(JobListener.parked, [each.parked for each in those])
        self.dead = _event(JobListener.dead, [each.dead for each in those])
        self.finished = _event(JobListener.finished, [each.finished for each in those])
        self.assigned = _event(JobListener.assigned, [each.assigned for each in those])
        self.revoked = _event(JobListener.revoked, [each.revoked for each in those])
        self.committed = _event(JobListener.committed, [each.committed for each in those])
        self.tick = _event(JobListener.tick, [each.tick for each in those])


def _event(
    unheard: Callable[Concatenate[JobListener, P], None], listeners: Sequence[Callable[P, None]]
) -> Event[P] | None:
    """The event for the listeners that have overridden its method; None where none has."""
    heard = [each for each in listeners if getattr(each, "__func__", None) is not unheard]
    return Event(heard) if heard else None
