"""Starts jobs that may have killed an earlier worker: each only when a commit names it, and the worst of them alone.

A lane whose head must wait is *set aside*: it is here and in no executor, and occupies no runner. When its turn has
come and the broker holds the commit that names it, it is submitted again, and a runner takes it like any other: unless
there is a hold, or its partition is lost. Who was named and could not start before a rebalance or a stop is no longer
named, and asks again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from streams.core.custody import Way
from streams.core.offsets import OffsetTracker
from streams.errors import KilledItsWorkers
from streams.solitude import Solitude
from streams.trial import Starter, Trial
from streams.work import WorkLane


class Trials:
    """The suspected jobs of a worker, of all its queues. Owned by its event loop; nothing here blocks."""

    def __init__(self) -> None:
        #: Called when the next commit is waited for.
        self.on_named: Callable[[], None] = lambda: None
        self._starters: list[Starter] = []
        #: Who waits to run in company, by the log that names them.
        self._waiting: dict[OffsetTracker, deque[Trial]] = {}
        #: Who waits for the commit that names them.
        self._named: list[Trial] = []
        #: Whose lanes were submitted and have not been taken by a runner.
        self._submitted: dict[WorkLane, Trial] = {}
        self._solitude = Solitude(self._starters, self._recall, self._tell, self._submit)

    def join(self, starter: Starter) -> None:
        """Start no jobs of it while another one runs alone."""
        self._starters.append(starter)

    # -- asked by a runner, for a lane of a cautious partition ---------------------------------------------------------

    def sets_aside(self, lane: WorkLane, starter: Starter) -> bool:
        """Whether the head of a lane must wait. Then the lane is submitted again, once."""
        if lane in self._submitted:
            return False
        partition = lane.owner
        partition.relax()
        log, offset = partition.log_of(lane)
        way = log.custody.way(offset)
        if way not in {Way.IN_COMPANY, Way.ALONE}:
            return False
        trial = Trial(lane, starter, self._ended)
        if way is Way.ALONE:
            self._solitude.add(trial)
        else:
            self._waiting.setdefault(log, deque()).append(trial)
        self._go_on()
        return True

    def enter(self, lane: WorkLane) -> Trial | None:
        """Begin a run; the trial to end after it, None if there is no suspicion.

        Raises KilledItsWorkers for a job that must not be started again.
        """
        trial = self._submitted.pop(lane, None)
        if trial is not None:
            self._solitude.begin(trial)
            return trial
        log, offset = lane.owner.log_of(lane)
        if log.custody.way(offset) is Way.NEVER:
            raise KilledItsWorkers(
                "its worker died each of the last times that it ran, and the last time it ran alone: it is not started"
                " again"
            )
        return None

    # -- whose turn it is ----------------------------------------------------------------------------------------------

    def committed(self) -> None:
        """The broker holds a commit."""
        if self._named:
            self._submit_named()
        self._solitude.advance()
        if self._waiting:
            self._name_company()

    def _submit_named(self) -> None:
        named, self._named = self._named, []
        for trial in named:
            if trial.told:
                self._submit(trial)
                trial.starter.submit([trial.lane])
            else:
                self._named.append(trial)

    def _submit(self, trial: Trial) -> None:
        self._submitted[trial.lane] = trial

    def _ended(self, trial: Trial) -> None:
        self._solitude.ended(trial)
        self._go_on()

    def _go_on(self) -> None:
        self._solitude.advance()
        nameable = next((waiting[0] for log, waiting in self._waiting.items() if self._may_name(log, waiting)), None)
        if nameable is not None:
            # Somebody is named when the broker has answered.
            nameable.ask()
            self._tell()

    def _may_name(self, log: OffsetTracker, waiting: deque[Trial]) -> bool:
        return bool(waiting) and not log.custody.crowded and self._solitude.allows(waiting[0].starter)

    def _name_company(self) -> None:
        """Name who may run beside others. The broker has just answered; see solitude.py for why that matters."""
        before = len(self._named)
        for log, waiting in [*self._waiting.items()]:
            while self._may_name(log, waiting):
                trial = waiting.popleft()
                trial.name()
                self._named.append(trial)
            if not waiting:
                del self._waiting[log]
        if len(self._named) > before:
            self._tell()

    def _tell(self) -> None:
        self.on_named()

    # -- what comes in between -----------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Name nobody, and have the next commit name nobody who has not begun: executors start no jobs for now."""
        self._solitude.paused = True
        if self._submitted or self._named:
            self._recall()
            self._tell()
        self._solitude.withdraw()

    def resume(self) -> None:
        """Executors start jobs again."""
        self._solitude.paused = False
        self._go_on()

    def _recall(self) -> None:
        """Take back the names of those that have not begun. Who was submitted is set aside again by a runner."""
        for trial in self._submitted.values():
            trial.unname()
        self._submitted.clear()
        for trial in reversed(self._named):
            trial.unname()
            self._waiting.setdefault(trial.log, deque()).appendleft(trial)
        self._named.clear()

    def forget_lost(self) -> None:
        """Drop what belongs to other workers now."""
        self._submitted = {lane: trial for lane, trial in self._submitted.items() if not trial.lost}
        self._named = [trial for trial in self._named if not trial.lost]
        # All jobs of a log are of one partition.
        self._waiting = {log: waiting for log, waiting in self._waiting.items() if not waiting[0].lost}
        self._solitude.forget_lost()
        self._go_on()
