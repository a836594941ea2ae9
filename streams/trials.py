"""Starts jobs that may have killed an earlier worker: each only when a commit names it, and the worst of them alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streams.core.custody import Way
from streams.core.offsets import OffsetTracker
from streams.errors import KilledItsWorkers
from streams.work import WorkLane

#: How long nothing else is started beside a job that runs alone, and what has run for longer is no company. What kills
#: its worker mostly does so at once, and a job of ten minutes must not stop the worker for as long. Seconds.
_FRESH = 2.0


class Trial:
    """One run of a suspected job."""

    __slots__ = ("_log", "_offset", "_trials", "alone", "fresh")

    def __init__(self, trials: Trials, log: OffsetTracker, offset: int, *, alone: bool) -> None:
        self._trials = trials
        self._log = log
        self._offset = offset
        self.alone = alone
        #: Whether it has only just begun.
        self.fresh = True

    def end(self) -> None:
        """The run is over."""
        self._log.custody.end(self._offset)
        self._log.touch()
        self._trials.ended(self)


class Trials:
    """The suspected jobs that a worker runs, of all its queues."""

    def __init__(self) -> None:
        #: Called when a job has been named that waits for the commit.
        self.on_named: Callable[[], None] = lambda: None
        #: Called to start no other jobs, and to go on.
        self.hold: Callable[[], None] = lambda: None
        self.release: Callable[[], None] = lambda: None
        #: How many have only just begun.
        self._fresh = 0
        #: The one that runs alone: without another one of its kind, and while it is fresh without any other job.
        self._alone: Trial | None = None
        #: Jobs that wait until they may run alone.
        self._lonely = 0
        self._awaiting_change: list[asyncio.Future[None]] = []
        self._awaiting_commit: list[tuple[OffsetTracker, int, asyncio.Future[None]]] = []

    async def enter(self, lane: WorkLane) -> Trial | None:
        """Wait until the head of a lane may be started; the trial to end after its run, None if there is no suspicion.

        Raises KilledItsWorkers for a job that must not be started again.
        """
        partition = lane.owner
        partition.relax()
        log, offset = partition.log_of(lane)
        way = log.custody.way(offset)
        if way is Way.FREELY:
            return None
        if way is Way.NEVER:
            raise KilledItsWorkers(
                "its worker died each of the last three times that it ran, and the last time it ran alone: it is not"
                " started again"
            )
        alone = way is Way.ALONE
        await self._turn(log, alone=alone)
        trial = self._start(log, offset, alone=alone)
        try:
            await self._named(log)
        except BaseException:
            trial.end()
            raise
        return trial

    async def _turn(self, log: OffsetTracker, *, alone: bool) -> None:
        self._lonely += alone
        try:
            while self._alone or self._fresh if alone else self._must_wait(log):
                change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._awaiting_change.append(change)
                await change
        finally:
            self._lonely -= alone
            if alone:
                self._tell_change()

    def _must_wait(self, log: OffsetTracker) -> bool:
        """Whether no job may start in company. Who is to run alone comes first, unless another one of them runs."""
        busy = self._alone.fresh if self._alone else self._lonely > 0
        return busy or log.custody.crowded

    def _start(self, log: OffsetTracker, offset: int, *, alone: bool) -> Trial:
        trial = Trial(self, log, offset, alone=alone)
        self._fresh += 1
        log.custody.start(offset)
        if alone:
            self._alone = trial
            self.hold()
        asyncio.get_running_loop().call_later(_FRESH, self._let_others, trial)
        return trial

    def _let_others(self, trial: Trial) -> None:
        """A run is fresh no longer."""
        if trial.fresh:
            trial.fresh = False
            self._fresh -= 1
            if trial.alone:
                self.release()
            self._tell_change()

    def ended(self, trial: Trial) -> None:
        """A suspected job's run is over."""
        if trial.alone:
            self._alone = None
        self._let_others(trial)
        self._tell_change()

    def _tell_change(self) -> None:
        waiting, self._awaiting_change = self._awaiting_change, []
        for change in waiting:
            if not change.done():
                change.set_result(None)

    async def _named(self, log: OffsetTracker) -> None:
        """Wait until the broker holds what a job's start has changed."""
        named: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaiting_commit.append((log, log.touch(), named))
        self.on_named()
        await named

    def committed(self) -> None:
        """The broker holds a commit."""
        waiting, self._awaiting_commit = self._awaiting_commit, []
        for log, change, named in waiting:
            if named.done():
                continue
            if log.acknowledged >= change:
                named.set_result(None)
            else:
                self._awaiting_commit.append((log, change, named))
