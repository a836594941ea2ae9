"""Runs suspected jobs alone, one after another: while one has only just begun, no other job of the worker has.

What lies between two of them is a state of its own, since a job may kill the worker as soon as it starts, and the
broker then holds what the last commit said:

    IDLE           nobody is to run alone
    QUEUE_BLOCKED  its queue starts no other job, until a runner is free for it
    ALL_BLOCKED    no queue starts a job, until those that run are done, or so old that they would have killed by now
    PROBING        a commit is under way that names nobody: only a broker that answers now is told a name
    ANNOUNCED      the next commit names it
    SUBMITTED      a runner takes it as soon as the executors may start jobs at all
    ISOLATED       it runs
    ENDING         it is done, or has run for a while, and the next commit says so: others start when the broker knows
    OVERLAPPING    it still runs, and others beside it; but for the others that should run alone

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
    IDLE = auto()
    QUEUE_BLOCKED = auto()
    ALL_BLOCKED = auto()
    PROBING = auto()
    ANNOUNCED = auto()
    SUBMITTED = auto()
    ISOLATED = auto()
    ENDING = auto()
    OVERLAPPING = auto()


#: The suspect has not begun to run, and may be put off.
_BEFORE = {_Phase.QUEUE_BLOCKED, _Phase.ALL_BLOCKED, _Phase.PROBING, _Phase.ANNOUNCED, _Phase.SUBMITTED}


class Isolation:
    """Runs suspects alone, one after another: a state machine, whose steps wait for runners and for commits.

    The part of the Quarantine for jobs that ran when a worker died.

    starters        all that start jobs
    recall          called to take back what was named to run beside others and has not begun
    request_commit  called when the next commit is waited for
    submitted       called with a suspect that is on its way to a runner
    """

    def __init__(
        self,
        starters: Iterable[JobStarter],
        recall: Callable[[], None],
        request_commit: Callable[[], None],
        submitted: Callable[[SuspectRun], None],
    ) -> None:
        self._starters = starters
        self._recall = recall
        self._request_commit = request_commit
        self._submitted = submitted
        #: Whether nobody is to be named for now.
        self.paused = False
        self._waiting: deque[SuspectRun] = deque()
        self._suspect: SuspectRun | None = None
        self._phase = _Phase.IDLE
        #: Since when no other job has started.
        self._since = 0.0
        self._look: asyncio.TimerHandle | None = None
        self._steps: dict[_Phase, Callable[[SuspectRun], _Phase]] = {
            _Phase.QUEUE_BLOCKED: self._queue_blocked,
            _Phase.ALL_BLOCKED: self._all_blocked,
            _Phase.PROBING: self._probing,
            _Phase.ANNOUNCED: self._announced,
            _Phase.ENDING: self._ending,
            _Phase.OVERLAPPING: self._overlapping,
        }

    def allows(self, starter: JobStarter) -> bool:
        """Whether other suspected jobs of a starter may be named."""
        if self._phase is _Phase.QUEUE_BLOCKED:
            return self._suspect is None or self._suspect.starter is not starter
        return not self.paused and self._phase in {_Phase.IDLE, _Phase.OVERLAPPING}

    def add(self, suspect: SuspectRun) -> None:
        """Have a job run alone when its turn has come."""
        self._waiting.append(suspect)

    def advance(self) -> None:
        """Go on as far as it goes now. Call this whenever a commit is acknowledged, or a suspected run is over."""
        before = None
        while before is not self._phase:
            before = self._phase
            if self._suspect is None:
                self._choose()
            elif before in self._steps:
                self._phase = self._steps[before](self._suspect)
        if self._phase in {_Phase.QUEUE_BLOCKED, _Phase.ALL_BLOCKED} and self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self.advance()

    def _choose(self) -> None:
        if self._waiting and not self.paused:
            self._suspect = self._waiting.popleft()
            self._suspect.starter.block(StartBlock.ISOLATION)
            self._phase = _Phase.QUEUE_BLOCKED

    def _queue_blocked(self, suspect: SuspectRun) -> _Phase:
        if not suspect.starter.has_free_runner:
            return _Phase.QUEUE_BLOCKED
        for starter in self._starters:
            starter.block(StartBlock.ISOLATION)
        self._since = monotonic()
        # They would be named as running beside it, and cannot start.
        self._recall()
        return _Phase.ALL_BLOCKED

    def _all_blocked(self, suspect: SuspectRun) -> _Phase:
        if any(starter.active for starter in self._starters) and monotonic() < self._since + _window(suspect):
            return _Phase.ALL_BLOCKED
        suspect.probe()
        self._request_commit()
        return _Phase.PROBING

    def _probing(self, suspect: SuspectRun) -> _Phase:
        if not suspect.acknowledged:
            return _Phase.PROBING
        suspect.name(alone=True)
        self._request_commit()
        return _Phase.ANNOUNCED

    def _announced(self, suspect: SuspectRun) -> _Phase:
        if not suspect.acknowledged:
            return _Phase.ANNOUNCED
        self._submitted(suspect)
        suspect.starter.submit_alone(suspect.lane)
        return _Phase.SUBMITTED

    def begin(self, suspect: SuspectRun) -> None:
        """A run begins: note it, if it is the one that is to run alone."""
        if suspect is self._suspect:
            self._phase = _Phase.ISOLATED
            asyncio.get_running_loop().call_later(_window(suspect), self._let_others, suspect)

    def _let_others(self, suspect: SuspectRun) -> None:
        if suspect is self._suspect and self._phase is _Phase.ISOLATED:
            suspect.name()
            self._end()
            self.advance()

    def ended(self, suspect: SuspectRun) -> None:
        """A run is over: note it, if it is the one that ran alone."""
        if suspect is self._suspect and self._phase is _Phase.ISOLATED:
            self._end()

    def _end(self) -> None:
        self._phase = _Phase.ENDING
        self._request_commit()

    def _ending(self, suspect: SuspectRun) -> _Phase:
        if not suspect.acknowledged:
            return _Phase.ENDING
        if not suspect.over:
            self._release()
            return _Phase.OVERLAPPING
        if self._waiting and not self.paused and self._waiting[0].starter.has_free_runner:
            # Nobody has started meanwhile, so the next one need not wait for them again.
            self._suspect = self._waiting.popleft()
            return _Phase.ALL_BLOCKED
        return self._leave()

    def _overlapping(self, suspect: SuspectRun) -> _Phase:
        return self._leave() if suspect.over else _Phase.OVERLAPPING

    def _leave(self) -> _Phase:
        self._suspect = None
        self._release()
        return _Phase.IDLE

    def _release(self) -> None:
        for starter in self._starters:
            starter.unblock(StartBlock.ISOLATION)

    def pause(self) -> None:
        """Announce nobody for now: executors start no jobs."""
        self.paused = True

    def resume(self) -> None:
        """Announce suspects again."""
        self.paused = False

    def withdraw(self) -> None:
        """Put the next one off if it has not begun. If it was submitted, its lane stays where it was."""
        suspect = self._suspect
        if suspect is None or self._phase not in _BEFORE:
            return
        if self._phase is _Phase.ANNOUNCED:
            suspect.unname()
            self._request_commit()
        if self._phase is not _Phase.SUBMITTED:
            self._waiting.appendleft(suspect)
        self._phase = self._leave()

    def forget_lost(self) -> None:
        """Drop what belongs to other workers now."""
        self._waiting = deque(suspect for suspect in self._waiting if not suspect.lost)
        if self._suspect is not None and self._suspect.lost and self._phase in _BEFORE:
            self._phase = self._leave()


def _window(suspect: SuspectRun) -> float:
    return WINDOWS[min(max(suspect.deaths, 1), len(WINDOWS)) - 1]
