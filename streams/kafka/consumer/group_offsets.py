"""The consumer's thread, asked from the worker's loop: what is committed, where logs begin and end, and commits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from streams.kafka.admin.open_transactions import OpenTransaction
from streams.kafka.consumer.thread import ConsumerThread
from streams.ports.group import CommittedOffset
from streams.ports.records import DueCommit, TopicPartition


class GroupOffsets:
    """The consumer group as its consumer sees it, for CommitLoop, Rebalance, PartitionOpener and LogWatch.

    Every call awaits an answer from the consumer's thread. Raises KafkaError for what may pass, and NotSettledYet.
    """

    def __init__(self, thread: ConsumerThread) -> None:
        self._thread = thread

    async def committed(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, CommittedOffset]:
        """What the group has committed for these partitions, of whatever topics."""
        return await self._thread.run(self._thread.committed(partitions))

    async def bounds(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """The first and the next offset of these assigned partitions."""
        return await self._thread.run(self._thread.bounds(partitions))

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The next offset of these assigned partitions."""
        return await self._thread.run(self._thread.ends(partitions))

    async def ids(self, topics: Collection[str]) -> dict[str, str | None]:
        """The ids of topics: None for one that is not there, UNKNOWN where the broker gives none."""
        return await self._thread.run(self._thread.ids(topics))

    async def commit_due(self, due: Iterable[DueCommit], generation: int, *, with_map: bool) -> set[str]:
        """Commit watermarks, and maps where they are wanted, in one request. Returns the topics that are not there."""
        return await self._thread.run(self._thread.commit_due(due, generation, with_map=with_map))

    async def seek_all(self, positions: Mapping[TopicPartition, int], logs: Mapping[TopicPartition, str]) -> None:
        """Fetch from these positions on, and from no other logs than these, where they are known."""
        await self._thread.run(self._thread.seek_all(positions, logs))

    def expelled(self) -> bool:
        """Whether the group has declared this member gone, so that its partitions may have other owners by now."""
        return self._thread.expelled()

    async def held_back(self) -> dict[TopicPartition, int]:
        """The assigned partitions that are read up to a transaction that is open, and where it begins."""
        return await self._thread.run(self._thread.held_back())

    async def transactions(self, tp: TopicPartition) -> list[OpenTransaction]:
        """The transactions that are open in a partition."""
        return await self._thread.run(self._thread.transactions(tp))
