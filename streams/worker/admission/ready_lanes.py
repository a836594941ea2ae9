"""The ready lanes of one queue, and what of them may be started: all, none, or one that runs alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from streams.ports.records import WorkLane
from streams.worker.admission.start_block import StartBlock

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

    def check_and_arm_hungry(self) -> bool:
        """Returns whether there is enough to run for now; if so, has `hungry` called when that has changed."""
        self.watched = len(self._ready) >= self._enough
        return self.watched

    def tell_if_hungry(self) -> None:
        """Call `hungry` if there is no longer enough to run."""
        if len(self._ready) < self._enough:
            self.watched = False
            self._hungry()
