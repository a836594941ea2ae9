"""Which jobs may have killed the worker that ran them: what a partition's commits say about that, beside the map.

A job that kills its process (a segfault, os._exit, memory that runs out) takes with it what anybody could have said
of it at that moment. So it is said before. An owner *claims* the partition in its commits, and *releases* it in the
last one; who finds a partition *unreleased* knows that the last owner died, and *suspects* every job that one may have
been running. Of these it starts few at once, and each only when a commit names it as *running*: beside others, or
isolated.

What is found running in the commit of a dead owner has a *death* to its account, and such jobs run one at a time. While
it runs alone, nothing else does that has only just begun: a death then is its own, and *certain*. So the third death
of a job that kills its worker at once is that of a job that ran alone:

    1   unknown     any job that was read and unfinished; those of the next owner are named when they start
    2   limited     a handful of them are named; each has a death now
    3   isolated    it is certain, and the job is not started again

Nothing is alone for ever, or a job of ten minutes would stop its worker for as long. When others start again beside it,
a commit says so first, and a death then is one more of those beside others: anybody may have caused it. With every one
of these a job runs alone for longer (see admission/isolation.py), so what kills later is certain later, after four or
five deaths; and what kills later than that is never told from the jobs that run beside it, which is better than to take
them for it.

An owner that releases names nothing as running, whatever still runs: what happens to it later says nothing of its jobs.
Only jobs that were running at a death pay for it, and a job that comes to an outcome, whatever it is, is cleared.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Protocol

from streams.core.offsets.commit_metadata import ALONE, BESIDE, IDLE, NamedJob

#: Jobs of one partition that may be named at once.
MAX_NAMED = 24

#: Stands, as a number of deaths, for one that was the job's own. Those beside others are counted to the one below.
CERTAIN = 9


class Finished(Protocol):
    """What is asked of a tracker of offsets."""

    def is_finished(self, offset: int) -> bool: ...


class StartMode(Enum):
    """How a job may be started."""

    #: Like any other.
    FREE = "free"
    #: With few others that are suspected, and when a commit names it.
    LIMITED = "limited"
    #: While no other job of the worker starts.
    ISOLATED = "isolated"
    #: Never again: it has killed its workers.
    REFUSED = "refused"


class CrashRecord:
    """What the commits of one partition say about crashes: who has claimed it, and which jobs are suspected.

    A part of the partition's OffsetTracker; the Quarantine asks it how a job may be started. Invariant: every named job
    is unfinished, and `named` has all suspects that run, unless the owner has released the partition.
    """

    __slots__ = ("_deaths", "_running", "claimed", "suspects_end", "unreleased")

    def __init__(self, *, unreleased: bool = False, named: Iterable[NamedJob] = ()) -> None:
        """From what the last commit says; by default from one that says nothing.

        unreleased  whether its owner had claimed the partition, and not released it
        named       the jobs that it names
        """
        #: Whether the next owner will suspect its jobs: somebody has claimed it, and has not released it.
        self.unreleased = unreleased
        #: Whether this owner has claimed it.
        self.claimed = False
        #: Unfinished jobs at offsets below this are suspected.
        self.suspects_end = 0
        deaths = {job.offset: _count(job.deaths, job.runs if unreleased else IDLE) for job in named}
        self._deaths = {offset: count for offset, count in deaths.items() if count}
        #: What runs, and how it is named.
        self._running: dict[int, str] = {}

    def inherit(self, before: CrashRecord) -> None:
        """Take over what was known before: the last owner was this very worker, which is alive. So whatever a commit
        says was running has killed nobody."""
        self.suspects_end = before.suspects_end
        self._deaths = dict(before._deaths)

    def named(self, log: Finished) -> list[NamedJob]:
        """Returns the jobs that a commit names, in the order of their offsets."""
        running = self._running if self.claimed else {}
        if not running and not self._deaths:
            return []
        return [
            NamedJob(offset, running.get(offset, IDLE), self.deaths(offset))
            for offset in sorted(self._deaths.keys() | running.keys())
            if not log.is_finished(offset)
        ]

    def suspect_below(self, end: int) -> None:
        """Suspect all jobs below an offset, if the last owner has not released the partition."""
        if self.unreleased:
            self.suspects_end = end
        self._deaths = dict(sorted(self._deaths.items())[:MAX_NAMED])

    def claim(self) -> None:
        """Note that this owner has it, and answers for what runs."""
        self.claimed = self.unreleased = True

    def release(self, watermark: int) -> None:
        """Note that the owner leaves in order. What still runs has killed nobody.

        What it suspected and has not finished is left to the next owner to suspect.
        """
        self.claimed = False
        self.unreleased = self.suspects_end > watermark

    def all_cleared(self, watermark: int) -> bool:
        """Whether no job is suspected any more: none that ran at a death, nor any that may have."""
        if self.suspects_end > watermark or self._running:
            return False
        return all(offset < watermark for offset in self._deaths)

    def reset(self) -> None:
        """Forget deaths and suspects, all of which are cleared."""
        self._deaths.clear()
        self.suspects_end = 0

    def deaths(self, offset: int) -> int:
        """How many deaths a job has to its account, or CERTAIN."""
        return self._deaths.get(offset, 0)

    def start_mode(self, offset: int) -> StartMode:
        """How the job at an offset may be started."""
        deaths = self.deaths(offset)
        if deaths:
            return StartMode.REFUSED if deaths == CERTAIN else StartMode.ISOLATED
        return StartMode.LIMITED if offset < self.suspects_end else StartMode.FREE

    @property
    def suspects(self) -> int:
        """How many jobs ran when a worker died."""
        return len(self._deaths)

    @property
    def at_limit(self) -> bool:
        """Whether as many jobs are named as may be. One always may, lest those behind it wait for ever."""
        return bool(self._running) and len(self._deaths.keys() | self._running.keys()) >= MAX_NAMED

    def start(self, offset: int, *, alone: bool = False) -> None:
        """Name a job as running. It may start when a commit has said so, and others beside it likewise."""
        self._running[offset] = ALONE if alone else BESIDE

    def leave(self, offset: int) -> None:
        """Name a job as running no longer. Nothing was learnt of it."""
        self._running.pop(offset, None)

    def end(self, offset: int) -> None:
        """Clear a job whose run has come to an outcome: whatever that is, it killed nobody."""
        self.leave(offset)
        self._deaths.pop(offset, None)


def _count(deaths: int, runs: str) -> int:
    """The deaths of a job that a dead owner's commit has named."""
    if runs == ALONE or deaths == CERTAIN:
        return CERTAIN
    return min(CERTAIN - 1, deaths + (runs == BESIDE))
