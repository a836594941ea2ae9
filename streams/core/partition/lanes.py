"""Key lanes: a FIFO for each key, so that jobs of one key run one after another and those of others side by side.

A lane exists while its key has work. It is *ready* when its head may run and nobody runs it; a ready lane is handed out
once, its head runs, and `finish` either makes it ready again or lets it go. A job without a key is a lane of its own.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from streams.core.partition.parked_job import ParkedJob

J = TypeVar("J")
W = TypeVar("W")


class Lane(Generic[J, W]):
    """The jobs of one key: `head` runs or runs next, `rest` waits behind it."""

    __slots__ = ("head", "key", "owner", "rest")

    def __init__(self, owner: W, key: bytes | None, job: J) -> None:
        self.owner = owner
        self.key = key
        self.head = job
        # Most lanes hold one job at a time, so the queue behind it is only made for a second one.
        self.rest: deque[J] | None = None

    @property
    def entry(self) -> ParkedJob[J] | None:
        """What the head is in the retry log; None if it runs from the queue."""
        return None


class Lanes(Generic[J, W]):
    """All lanes of one partition of a queue: a part of its QueuePartition, which adds and finishes jobs."""

    __slots__ = ("_by_key", "_owner")

    def __init__(self, owner: W) -> None:
        self._owner = owner
        self._by_key: dict[bytes, Lane[J, W]] = {}

    def __len__(self) -> int:
        """How many keys have work."""
        return len(self._by_key)

    def add(self, key: bytes | None, job: J) -> Lane[J, W] | None:
        """Queue a job behind the others of its key. Returns the lane if that has made it ready."""
        if key is None:
            return Lane(self._owner, None, job)
        lane = self._by_key.get(key)
        if lane is None:
            lane = self._by_key[key] = Lane(self._owner, key, job)
            return lane
        if lane.rest is None:
            lane.rest = deque()
        lane.rest.append(job)
        return None

    def remove(self, lane: Lane[J, W]) -> None:
        """Drop a lane with all that is in it: its key is parked."""
        if lane.key is not None:
            del self._by_key[lane.key]

    def finish(self, lane: Lane[J, W]) -> bool:
        """Take the head off a lane. Returns whether the lane is ready again."""
        if lane.rest:
            lane.head = lane.rest.popleft()
            return True
        if lane.key is not None:
            del self._by_key[lane.key]
        return False


class IndependentLanes(Lanes[J, W]):
    """Lanes of a queue with order="none": every job is a lane of its own, whatever its key."""

    __slots__ = ()

    def add(self, key: bytes | None, job: J) -> Lane[J, W] | None:
        """Returns a lane for the job, which is ready."""
        del key
        return Lane(self._owner, None, job)
