"""Starts jobs that may have killed an earlier worker: each only when a commit names it, and the worst of them alone.

A lane whose head must wait is *withheld*: it is here and in no executor, and occupies no runner. When its turn has
come and the broker holds the commit that names it, it is submitted again, and a runner takes it like any other: unless
something blocks starts, or its partition is lost. Who was named and could not start before a rebalance or a stop is no
longer named, and asks again.
"""

from __future__ import annotations

from collections import deque

from streams.core.offsets.crash_record import StartMode
from streams.core.offsets.tracker import OffsetTracker
from streams.errors import KilledItsWorkers
from streams.ports.group import GroupRequests
from streams.ports.records import WorkLane
from streams.worker.admission.isolation import Isolation
from streams.worker.admission.suspect import JobStarter, SuspectRun


class Quarantine:
    """The jobs of a worker, of all its queues, that may have killed an earlier worker, and when each may start.

    Executors ask it before they start a job of a partition that has suspects. Owned by the event loop; nothing blocks.
    """

    def __init__(self, requests: GroupRequests) -> None:
        """`requests` is asked to commit at once, since a job waits for the answer."""
        self._requests = requests
        self._starters: list[JobStarter] = []
        #: Who waits to run beside others, by the log that names them.
        self._waiting: dict[OffsetTracker, deque[SuspectRun]] = {}
        #: Who waits for the commit that names them.
        self._named: list[SuspectRun] = []
        #: Whose lanes were submitted and have not been taken by a runner.
        self._submitted: dict[WorkLane, SuspectRun] = {}
        self._isolation = Isolation(self._starters, self._recall, requests.commit_now, self._submit)

    def join(self, starter: JobStarter) -> None:
        """Start no jobs of it while another one runs alone."""
        self._starters.append(starter)

    # -- asked by a runner, for a lane of a partition with suspects ----------------------------------------------------

    def withhold(self, lane: WorkLane, starter: JobStarter) -> bool:
        """Keep a lane whose head must wait, and submit it again, once. Returns whether that is so."""
        if lane in self._submitted:
            return False
        partition = lane.owner
        partition.crashes.refresh()
        log, offset = partition.crashes.log_of(lane)
        mode = log.crash_record.start_mode(offset)
        if mode not in {StartMode.LIMITED, StartMode.ISOLATED}:
            return False
        suspect = SuspectRun(lane, starter, self._ended)
        if mode is StartMode.ISOLATED:
            self._isolation.add(suspect)
        else:
            self._waiting.setdefault(log, deque()).append(suspect)
        self._go_on()
        return True

    def begin_run(self, lane: WorkLane) -> SuspectRun | None:
        """Begin a run. Returns the suspect to end after it, None if there is no suspicion.

        Raises KilledItsWorkers for a job that must not be started again.
        """
        suspect = self._submitted.pop(lane, None)
        if suspect is not None:
            self._isolation.begin(suspect)
            return suspect
        log, offset = lane.owner.crashes.log_of(lane)
        if log.crash_record.start_mode(offset) is StartMode.REFUSED:
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
        self._isolation.advance()
        if self._waiting:
            self._name_more()

    def _submit_named(self) -> None:
        named, self._named = self._named, []
        for suspect in named:
            if suspect.acknowledged:
                self._submit(suspect)
                suspect.starter.submit([suspect.lane])
            else:
                self._named.append(suspect)

    def _submit(self, suspect: SuspectRun) -> None:
        self._submitted[suspect.lane] = suspect

    def _ended(self, suspect: SuspectRun) -> None:
        # Whatever its outcome waits for: until a commit says that it does not run, a death would be put to its account.
        self._requests.commit_soon()
        self._isolation.ended(suspect)
        self._go_on()

    def _go_on(self) -> None:
        self._isolation.advance()
        nameable = next((waiting[0] for log, waiting in self._waiting.items() if self._may_name(log, waiting)), None)
        if nameable is not None:
            # Somebody is named when the broker has answered.
            nameable.probe()
            self._requests.commit_now()

    def _may_name(self, log: OffsetTracker, waiting: deque[SuspectRun]) -> bool:
        return bool(waiting) and not log.crash_record.at_limit and self._isolation.allows(waiting[0].starter)

    def _name_more(self) -> None:
        """Name who may run beside others. The broker has just answered; see isolation.py for why that matters."""
        before = len(self._named)
        for log, waiting in [*self._waiting.items()]:
            while self._may_name(log, waiting):
                suspect = waiting.popleft()
                suspect.name()
                self._named.append(suspect)
            if not waiting:
                del self._waiting[log]
        if len(self._named) > before:
            self._requests.commit_now()

    # -- what comes in between -----------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Name nobody, and have the next commit name nobody who has not begun: executors start no jobs for now."""
        self._isolation.pause()
        if self._submitted or self._named:
            self._recall()
            self._requests.commit_now()
        self._isolation.withdraw()

    def resume(self) -> None:
        """Executors start jobs again."""
        self._isolation.resume()
        self._go_on()

    def _recall(self) -> None:
        """Take back the names of those that have not begun. Who was submitted is withheld again."""
        for suspect in self._submitted.values():
            suspect.unname()
        self._submitted.clear()
        for suspect in reversed(self._named):
            suspect.unname()
            self._waiting.setdefault(suspect.log, deque()).appendleft(suspect)
        self._named.clear()

    def forget_lost(self) -> None:
        """Drop what belongs to other workers now."""
        self._submitted = {lane: suspect for lane, suspect in self._submitted.items() if not suspect.lost}
        self._named = [suspect for suspect in self._named if not suspect.lost]
        # All jobs of a log are of one partition.
        self._waiting = {log: waiting for log, waiting in self._waiting.items() if not waiting[0].lost}
        self._isolation.forget_lost()
        self._go_on()
