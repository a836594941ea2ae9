"""Which partitions are fetched no further for now, and why: they are full, or their queue has enough to run."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum

from streams.core.partition.capacity import ParkedBudget
from streams.ports.group import GroupRequests
from streams.ports.records import TopicPartition, WorkPartition


class FetchBlock(Enum):
    """Why a partition is not fetched."""

    FULL = "it holds as many jobs or bytes as it may, or its map of finished offsets is full"
    ENOUGH = "its queue has enough ready jobs"


class Backpressure:
    """Keeps partitions from being fetched that have enough, and asks for them again. Owned by the event loop.

    A part of the Assignment, which tells it what was taken and what has finished.

    requests                   is asked to fetch a partition again
    topics                     of the queues
    limit_jobs, limit_bytes    bound what one queue holds in memory; its partitions share them equally
    parked_jobs, parked_bytes  bound what of it is parked: see ParkedBudget
    """

    def __init__(
        self,
        requests: GroupRequests,
        topics: Iterable[str],
        *,
        limit_jobs: int,
        limit_bytes: int,
        parked_jobs: int,
        parked_bytes: int,
    ) -> None:
        self._requests = requests
        self.limit_jobs = limit_jobs
        self.limit_bytes = limit_bytes
        #: How much of each queue may be parked in memory.
        self.budgets = {topic: ParkedBudget(parked_jobs, parked_bytes) for topic in topics}
        #: Partitions that are full. Looked at for every job, so it stays the same dict.
        self.full: dict[WorkPartition, TopicPartition] = {}
        #: Partitions of queues that have enough, by topic.
        self._enough: dict[str, list[TopicPartition]] = {topic: [] for topic in self.budgets}

    def divide_limits(self, topic: str, partitions: Collection[WorkPartition]) -> None:
        """Divide the limits of a queue among these partitions, which are all that it has here."""
        self.budgets[topic].divide_among(partitions)
        for partition in partitions:
            partition.set_limits(
                jobs=max(1, self.limit_jobs // len(partitions)), size=max(1, self.limit_bytes // len(partitions))
            )

    def why_closed(self, tp: TopicPartition) -> FetchBlock | None:
        """Why a partition is not to be fetched; None if it is."""
        if tp in self._enough[tp.topic]:
            return FetchBlock.ENOUGH
        return FetchBlock.FULL if tp in self.full.values() else None

    def close_full(self, tp: TopicPartition, partition: WorkPartition) -> None:
        """Fetch a partition again when it has drained: see `reopen_drained`."""
        self.full[partition] = tp

    def close_enough(self, tp: TopicPartition) -> None:
        """Fetch a partition again when its queue is `hungry`."""
        self._enough[tp.topic].append(tp)

    def hungry(self, topic: str) -> None:
        """Fetch the partitions of a queue that could run more than it has."""
        waiting, self._enough[topic] = self._enough[topic], []
        for tp in waiting:
            self._requests.fetch_again(tp)

    def reopen_drained(self, partition: WorkPartition) -> None:
        """Fetch a partition that was full, if there is room in it again."""
        if partition.may_read_again:
            self._requests.fetch_again(self.full.pop(partition))

    def reopen_all_drained(self) -> None:
        """Fetch all that were full and have room again: what another one has parked may have made some."""
        for partition in [*self.full]:
            self.reopen_drained(partition)

    def forget(self, tp: TopicPartition, partition: WorkPartition) -> None:
        """Ask no more for a partition: it is lost."""
        self.full.pop(partition, None)
        if tp in self._enough[tp.topic]:
            self._enough[tp.topic].remove(tp)
