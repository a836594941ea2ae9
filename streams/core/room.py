"""How much the partitions of a queue may park together, in one worker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

#: How many jobs, and bytes of them, may be parked of a queue in a worker before it reads no further.
#: A hundred thousand behind one key that fails leave room for the failures of others.
LIMIT_PARKED = 120_000
LIMIT_PARKED_BYTES = 256 * 1024 * 1024


class Parks(Protocol):
    """What a partition holds parked."""

    @property
    def parked(self) -> int: ...
    @property
    def parked_bytes(self) -> int: ...


class Room:
    """The room for parked jobs that some partitions share.

    A partition may use what the others leave, and always its equal share. So one hot key may park nearly as much as all
    together, and nobody is crowded out by it; together they hold less than twice the limit.
    """

    __slots__ = ("limit_bytes", "limit_jobs", "partitions")

    def __init__(self, limit_jobs: int = LIMIT_PARKED, limit_bytes: int = LIMIT_PARKED_BYTES) -> None:
        self.limit_jobs = limit_jobs
        self.limit_bytes = limit_bytes
        self.partitions: list[Parks] = []

    def share(self, partitions: Iterable[Parks]) -> None:
        """Have these partitions share it, and no others any more."""
        self.partitions = list(partitions)

    def crowded(self, partition: Parks) -> bool:
        """Whether a partition has parked as much as it may."""
        jobs = sum(each.parked for each in self.partitions)
        size = sum(each.parked_bytes for each in self.partitions)
        return self._over(partition.parked, jobs, self.limit_jobs) or self._over(
            partition.parked_bytes, size, self.limit_bytes
        )

    def _over(self, own: int, together: int, limit: int) -> bool:
        return together >= limit and own * len(self.partitions) >= limit
