"""Runs suspected jobs alone, one after another: while one has only just begun, no other job of the worker has.

What lies between two of them is a state of its own, since a job may kill the worker as soon as it starts, and the
broker then holds what the last commit said:

    NOBODY     nobody is to run alone
    RESERVED   its queue starts no other job, until a runner is free for it
    CLEARED    no queue starts a job, until those that run are done, or so old that they would have killed by now
    ASKED      a commit is under way that names nobody: only a broker that answers now is told a name
    NAMED      the next commit names it
    SUBMITTED  a runner takes it as soon as the executors may start jobs at all
    ALONE      it runs
    CLOSED     it is done, or has run for a while, and the next commit says so: others start when the broker knows
    BESIDE     it still runs, and others beside it; but for the others that should run alone

A name that the broker has and whose answer never comes would count against a job that has not begun, if its worker
dies of something else meanwhile: with a broker that stands still, that may be minutes. Behind an answer that has just
come, it is the time of one request.

What kills its worker mostly does so at once. So a job is alone for two seconds; for ten, if one like it has killed when
others ran again; and for a minute at the most, since everything else stands still.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum, auto
from time import monotonic

from streams.worker.admission.start_block import StartBlock
from streams.worker.admission.suspect import JobStarter, SuspectRun

#: How long a job runs alone that has one death to its account, two, and more. Seconds.
WINDOWS = (2.0, 10.0, 60.0)

#: How often to look whether the others are done. Seconds.
_LOOK = 0.01


class _Phase(Enum):
    NOBODY = auto()
    RESERVED = auto()
    CLEARED = auto()
    ASKED = auto()
    NAMED = auto()
    SUBMITTED = auto()
    ALONE = auto()
    CLOSED = auto()
    BESIDE = auto()


#: The trial has not begun, and may be put off.
_BEFORE = {_Phase.RESERVED, _Phase.CLEARED, _Phase.ASKED, _Phase.NAMED, _Phase.SUBMITTED}


class Isolation:
    """Who runs alone, and who is to.

    starters  all that start jobs
    recall    called to take back what was named in company and has not begun
    tell      called when the next commit is waited for
    submitted called with a trial that is on its way to a runner
    """

    def __init__(
        self,
        starters: Iterable[JobStarter],
        recall: Callable[[], None],
        tell: Callable[[], None],
        submitted: Callable[[SuspectRun], None],
    ) -> None:
        self._starters = starters
        self._recall = recall
        self._tell = tell
        self._submitted = submitted
        #: Whether nobody is to be named for now.
        self.paused = False
        self._waiting: deque[SuspectRun] = deque()
        self._trial: SuspectRun | None = None
        self._phase = _Phase.NOBODY
        #: Since when no other job has started.
        self._since = 0.0
        self._look: asyncio.TimerHandle | None = None
        self._steps: dict[_Phase, Callable[[SuspectRun], _Phase]] = {
            _Phase.RESERVED: self._reserved,
            _Phase.CLEARED: self._cleared,
            _Phase.ASKED: self._asked,
            _Phase.NAMED: self._named,
            _Phase.CLOSED: self._closed,
            _Phase.BESIDE: self._beside,
        }

    def allows(self, starter: JobStarter) -> bool:
        """Whether other suspected jobs of a starter may be named."""
        if self._phase is _Phase.RESERVED:
            return self._trial is None or self._trial.starter is not starter
        return not self.paused and self._phase in {_Phase.NOBODY, _Phase.BESIDE}

    def add(self, trial: SuspectRun) -> None:
        """Have a job run alone when its turn has come."""
        self._waiting.append(trial)

    def advance(self) -> None:
        """Go on as far as it goes now. Call this whenever a commit is acknowledged, or a suspected run is over."""
        before = None
        while before is not self._phase:
            before = self._phase
            if self._trial is None:
                self._choose()
            elif before in self._steps:
                self._phase = self._steps[before](self._trial)
        if self._phase in {_Phase.RESERVED, _Phase.CLEARED} and self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self.advance()

    def _choose(self) -> None:
        if self._waiting and not self.paused:
            self._trial = self._waiting.popleft()
            self._trial.starter.hold(StartBlock.TRIAL)
            self._phase = _Phase.RESERVED

    def _reserved(self, trial: SuspectRun) -> _Phase:
        if not trial.starter.roomy:
            return _Phase.RESERVED
        for starter in self._starters:
            starter.hold(StartBlock.TRIAL)
        self._since = monotonic()
        # They would be named as running beside it, and cannot start.
        self._recall()
        return _Phase.CLEARED

    def _cleared(self, trial: SuspectRun) -> _Phase:
        if any(starter.active for starter in self._starters) and monotonic() < self._since + _window(trial):
            return _Phase.CLEARED
        trial.ask()
        self._tell()
        return _Phase.ASKED

    def _asked(self, trial: SuspectRun) -> _Phase:
        if not trial.told:
            return _Phase.ASKED
        trial.name(alone=True)
        self._tell()
        return _Phase.NAMED

    def _named(self, trial: SuspectRun) -> _Phase:
        if not trial.told:
            return _Phase.NAMED
        self._submitted(trial)
        trial.starter.submit_alone(trial.lane)
        return _Phase.SUBMITTED

    def begin(self, trial: SuspectRun) -> None:
        """A run begins: note it, if it is the one that is to run alone."""
        if trial is self._trial:
            self._phase = _Phase.ALONE
            asyncio.get_running_loop().call_later(_window(trial), self._let_others, trial)

    def _let_others(self, trial: SuspectRun) -> None:
        if trial is self._trial and self._phase is _Phase.ALONE:
            trial.name()
            self._close()
            self.advance()

    def ended(self, trial: SuspectRun) -> None:
        """A run is over: note it, if it is the one that ran alone."""
        if trial is self._trial and self._phase is _Phase.ALONE:
            self._close()

    def _close(self) -> None:
        self._phase = _Phase.CLOSED
        self._tell()

    def _closed(self, trial: SuspectRun) -> _Phase:
        if not trial.told:
            return _Phase.CLOSED
        if not trial.over:
            self._release()
            return _Phase.BESIDE
        if self._waiting and not self.paused and self._waiting[0].starter.roomy:
            # Nobody has started meanwhile, so the next one need not wait for them again.
            self._trial = self._waiting.popleft()
            return _Phase.CLEARED
        return self._leave()

    def _beside(self, trial: SuspectRun) -> _Phase:
        return self._leave() if trial.over else _Phase.BESIDE

    def _leave(self) -> _Phase:
        self._trial = None
        self._release()
        return _Phase.NOBODY

    def _release(self) -> None:
        for starter in self._starters:
            starter.release(StartBlock.TRIAL)

    def withdraw(self) -> None:
        """Put the next one off if it has not begun. If it was submitted, its lane stays where it was."""
        trial = self._trial
        if trial is None or self._phase not in _BEFORE:
            return
        if self._phase is _Phase.NAMED:
            trial.unname()
            self._tell()
        if self._phase is not _Phase.SUBMITTED:
            self._waiting.appendleft(trial)
        self._phase = self._leave()

    def forget_lost(self) -> None:
        """Drop what belongs to other workers now."""
        self._waiting = deque(trial for trial in self._waiting if not trial.lost)
        if self._trial is not None and self._trial.lost and self._phase in _BEFORE:
            self._phase = self._leave()


def _window(trial: SuspectRun) -> float:
    return WINDOWS[min(max(trial.deaths, 1), len(WINDOWS)) - 1]
