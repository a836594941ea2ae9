"""A suspected job on its way: withheld, named in a commit, submitted again, run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from streams.ports.records import WorkLane
from streams.worker.admission.start_block import StartBlock


class JobStarter(Protocol):
    """What starts jobs, as the Quarantine and the Isolation know it: the executor of a queue."""

    @property
    def active(self) -> int:
        """How many run now."""

    @property
    def has_free_runner(self) -> bool:
        """Whether one more may run beside them."""

    def submit(self, lanes: Iterable[WorkLane]) -> None:
        """Take lanes that have become ready."""

    def submit_alone(self, lane: WorkLane) -> None:
        """Take a lane whose head runs alone: StartBlock.ISOLATION does not hold it back."""

    def block(self, reason: StartBlock) -> None:
        """Start no more jobs."""

    def unblock(self, reason: StartBlock) -> None:
        """Start jobs again."""


class SuspectRun:
    """A job that may have killed an earlier worker, until its run is over: the head of a lane that nobody else has.

    Made by the Quarantine; `end` is called by the runner.
    """

    __slots__ = ("_change", "_offset", "_on_end", "lane", "log", "over", "starter")

    def __init__(self, lane: WorkLane, starter: JobStarter, on_end: Callable[[SuspectRun], None]) -> None:
        self.lane = lane
        self.starter = starter
        self._on_end = on_end
        #: What names it.
        self.log, self._offset = lane.owner.crashes.log_of(lane)
        self._change = 0
        #: Whether its run has ended.
        self.over = False

    @property
    def lost(self) -> bool:
        """Whether its partition has another owner."""
        return self.lane.owner.lost

    @property
    def deaths(self) -> int:
        """How many deaths it has to its account."""
        return self.log.crash_record.deaths(self._offset)

    def probe(self) -> None:
        """Have a commit due that says nothing new of it: `acknowledged` then says whether the broker answers."""
        self._change = self.log.mark_changed()

    def name(self, *, alone: bool = False) -> None:
        """Have the next commit say that it runs."""
        self.log.crash_record.start(self._offset, alone=alone)
        self._change = self.log.mark_changed()

    def unname(self) -> None:
        """Have the next commit say that it does not run. It is as suspect as before."""
        self.log.crash_record.leave(self._offset)
        self._change = self.log.mark_changed()

    @property
    def acknowledged(self) -> bool:
        """Whether the broker holds what was said of it last, or it is no longer ours to say."""
        return self.lost or self.log.acknowledged >= self._change

    def end(self, *, cleared: bool) -> None:
        """The run is over; `cleared` if it has come to an outcome."""
        self.over = True
        if cleared:
            self.log.crash_record.end(self._offset)
        self.unname()
        self._on_end(self)
