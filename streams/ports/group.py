"""What a worker asks of its consumer group and of the logs that it reads, and what can come of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from streams.ports.records import Anew, TopicPartition


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """What the group has committed for a partition: an offset, None if it has none, and the map."""

    offset: int | None
    metadata: str


class NotSettledYet(Exception):
    """A log is not to be relied on just now: its leader has changed, or it was made anew. Open the partition again."""


class ConsumerGroup(Protocol):
    """What a PartitionOpener asks of the consumer group and its topics. Raises KafkaError for what may pass."""

    async def committed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, CommittedOffset]: ...
    async def bounds(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]: ...
    async def ends(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]: ...
    async def ids(self, topics: Collection[str]) -> Mapping[str, str | None]: ...


class GroupRequests(Protocol):
    """What a worker's assignment asks of the consumer, which does it as soon as it can.

    Nothing here blocks or raises.
    """

    def fetch_again(self, tp: TopicPartition) -> None:
        """Fetch a partition whose jobs had filled their bounds."""

    def reopen(self, tp: TopicPartition, anew: Anew) -> None:
        """Open a partition again that was given up, since one of its logs is another one."""

    def rejoin(self) -> None:
        """Join the group again: topics are there that were not."""

    def commit_soon(self) -> None:
        """Commit with the next round: there is something to commit again."""

    def commit_now(self) -> None:
        """Commit at once: somebody waits for the answer."""


class RebalancedMeanwhile(Exception):
    """A rebalance has made it pointless to read on."""


class LogBounds(NamedTuple):
    """The first offset of a log and the one after its last."""

    start: int
    end: int
