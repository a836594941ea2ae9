"""Whether a job may start now: the one place that says "not yet", asked by a queue's runners before each job.

In the order in which it is asked:

    start blocks   a rebalance is under way, or another job runs alone: see StartBlock
    lease          the group has not heard of this worker for a session: see GroupLease
    slice          the queue's runners have had the event loop for long enough: see LoopSlice
    lost           the lane's partition has another owner
    processes      a CPU-bound job waits until a process is free for it: see Share
    quarantine     a job that may have killed a worker waits until a commit names it: see Quarantine

What the first three hold back stays here, and what the last two hold back is *withheld*: they have the lane, and submit
it again. A reason more, such as a pause or a limit of starts in a second, belongs here and nowhere else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from streams.aio.loop_slice import LoopSlice
from streams.ports.records import WorkLane
from streams.worker.admission.lease import GroupLease
from streams.worker.admission.quarantine import Quarantine
from streams.worker.admission.start_block import StartBlock
from streams.worker.admission.suspect import JobStarter, SuspectRun
from streams.worker.process_pool.member import Member
from streams.worker.process_pool.shares import Share

_NOTHING: deque[WorkLane] = deque()


class ReadyLanes:
    """Lanes whose heads may run next, in the order in which they became ready. Owned by the event loop.

    A part of a queue's Admission.

    enough  ready lanes beyond which more do not run sooner for being read
    hungry  called once when there is no longer enough, after `check_and_arm_hungry` has said that there was
    """

    __slots__ = ("_alone", "_blocks", "_enough", "_hungry", "_ready", "startable", "watched")

    def __init__(self, enough: int, hungry: Callable[[], None]) -> None:
        self._enough = enough
        self._hungry = hungry
        #: Whether `hungry` is to be called: to be looked at by whoever takes a lane, and then `tell_if_hungry`.
        self.watched = False
        self._ready: deque[WorkLane] = deque()
        #: The lane whose head runs alone, on its way to a runner.
        self._alone: deque[WorkLane] = deque()
        self._blocks: set[StartBlock] = set()
        #: What may be started: all that is ready, unless something blocks starts. To be taken from the left.
        self.startable = self._ready

    def add(self, lane: WorkLane) -> None:
        """Take a lane that is ready again."""
        self._ready.append(lane)

    def extend(self, lanes: Iterable[WorkLane]) -> None:
        """Take lanes that have become ready."""
        self._ready.extend(lanes)

    def add_first(self, *lanes: WorkLane) -> None:
        """Take lanes that were taken before, and come before all others."""
        self._ready.extendleft(reversed(lanes))

    def add_alone(self, lane: WorkLane) -> None:
        """Take a lane whose head runs alone: StartBlock.ISOLATION does not hold it back."""
        self._alone.append(lane)

    def block(self, reason: StartBlock) -> None:
        """Have nothing be startable until the `unblock` of every block, but for `add_alone`."""
        self._blocks.add(reason)
        self._apply_blocks()

    def unblock(self, reason: StartBlock) -> None:
        """Take a block back."""
        self._blocks.discard(reason)
        if reason is StartBlock.ISOLATION:
            # It may have been put off before a runner took it.
            self._ready.extend(self._alone)
            self._alone.clear()
        self._apply_blocks()

    def _apply_blocks(self) -> None:
        if not self._blocks:
            self.startable = self._ready
        else:
            self.startable = self._alone if self._blocks == {StartBlock.ISOLATION} else _NOTHING

    def drop_lost(self) -> None:
        """Drop the lanes of lost partitions."""
        self._ready = deque(lane for lane in self._ready if not lane.owner.lost)
        self._alone = deque(lane for lane in self._alone if not lane.owner.lost)
        self._apply_blocks()
        if self.watched:
            self.tell_if_hungry()

    def take_back(self, which: Callable[[WorkLane], bool]) -> set[WorkLane]:
        """Take lanes out that are ready, while starts are blocked. Returns them."""
        taken = {lane for lane in self._ready if which(lane)}
        if taken:
            self._ready = deque(lane for lane in self._ready if lane not in taken)
            self._apply_blocks()
            if self.watched:
                self.tell_if_hungry()
        return taken

    def check_and_arm_hungry(self) -> bool:
        """Returns whether there is enough to run for now; if so, has `hungry` called when that has changed."""
        self.watched = len(self._ready) >= self._enough
        return self.watched

    def tell_if_hungry(self) -> None:
        """Call `hungry` if there is no longer enough to run."""
        if len(self._ready) < self._enough:
            self.watched = False
            self._hungry()


class Admission:
    """Hands the ready lanes of one queue to its runners, each when its head may start. Owned by the event loop.

    starter  submits what the quarantine has withheld: the queue's executor
    share    of the processes, for a queue with CPU-bound jobs
    """

    __slots__ = ("_lanes", "_lease", "_quarantine", "_share", "_slice", "_starter")

    def __init__(
        self, starter: JobStarter, lanes: ReadyLanes, lease: GroupLease, quarantine: Quarantine, share: Share | None
    ) -> None:
        self._starter = starter
        self._lanes = lanes
        self._lease = lease
        self._quarantine = quarantine
        self._share = share
        self._slice = LoopSlice()

    def take(self, now: float) -> WorkLane | None:
        """Take the next lane whose head may start now; `now` is monotonic. Returns None where there is none.

        Then wait for `opened` if there are startable lanes, and else for one to be submitted.
        """
        lanes, slice_, share = self._lanes, self._slice, self._share
        while startable := lanes.startable:
            # A slice ends with the lease at the latest, so most of the time this is one comparison.
            if now >= slice_.end and not slice_.begin(now, self._lease.until):
                return None
            lane = startable.popleft()
            if lanes.watched:
                lanes.tell_if_hungry()
            partition = lane.owner
            if not (partition.lost or ((partition.crashes.has_suspects or share is not None) and self._withhold(lane))):
                return lane
        return None

    def opened(self, now: float) -> Coroutine[Any, Any, None]:
        """What to wait for where nothing could be taken at `now` although lanes were startable."""
        return self._lease.renewed() if now > self._lease.until else self._slice.next()

    def _withhold(self, lane: WorkLane) -> bool:
        """Withhold a lane whose head must wait, for a process or as a suspect. Returns whether that is so."""
        share = self._share
        if share is not None and share.withhold(lane):
            return True
        if not lane.owner.crashes.has_suspects:
            return False
        if share is None or share.process_of(lane) is None:
            return self._quarantine.withhold(lane, self._starter)
        lane.owner.crashes.refresh()  # What runs in a process has killed no worker.
        return False

    # -- the run of a lane that was taken ------------------------------------------------------------------------------

    def begin_run(self, lane: WorkLane) -> SuspectRun | None:
        """Begin the run of a lane whose partition has suspects. Returns the suspect to end after it, if it is one.

        Raises KilledItsWorkers for a job that must not be started again.
        """
        return self._quarantine.begin_run(lane) if self.process_of(lane) is None else None

    def process_of(self, lane: WorkLane) -> Member | None:
        """The process that the head of a lane runs in; None if it runs in this one."""
        return None if self._share is None else self._share.process_of(lane)

    @property
    def uses_processes(self) -> bool:
        """Whether the queue has jobs that run in processes: then the end of each run is to be told."""
        return self._share is not None

    def end_run(self, lane: WorkLane) -> None:
        """Give back the process of a lane that was taken: its run is over."""
        if self._share is not None:
            self._share.give_back(lane)

    def rest(self, now: float) -> None:
        """Leave the event loop to others for a while: what came was no job. See LoopSlice."""
        self._slice.rest(now)

    # -- blocks --------------------------------------------------------------------------------------------------------

    def block(self, reason: StartBlock) -> None:
        """Start no more jobs until the `unblock` of every block, but for the one that runs alone."""
        self._recall()
        self._lanes.block(reason)

    def unblock(self, reason: StartBlock) -> None:
        """Start jobs again."""
        self._recall()
        self._lanes.unblock(reason)

    def forget_lost(self) -> None:
        """Drop the lanes of lost partitions."""
        self._recall()
        self._lanes.drop_lost()

    def _recall(self) -> None:
        """Take back the lanes that wait for a process."""
        if self._share is not None:
            self._lanes.add_first(*self._share.recall())
