"""Which partitions are fetched: a set that the fetch under way looks at while it waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from streams.ports.records import TopicPartition

#: In every set, since aiokafka takes an empty one for all partitions.
NO_PARTITION = TopicPartition("", -1)


class FetchSet:
    """The partitions that the consumer's fetch loop asks for; opened by a rebalance, closed while a batch is taken in.

    It is changed on the worker's loop, and read in the consumer's thread. `wake` has a waiting fetch look again.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        #: What a fetch is to be given. Never empty: see NO_PARTITION.
        self.partitions: set[Any] = {NO_PARTITION}
        #: Whether nothing may be fetched, whoever asks for it.
        self._is_closed = False

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch again, after a `clear`: these partitions, at once, and what is added from now on."""
        self._is_closed = False
        self.add(partitions)

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch these partitions as well, at once; not between a `clear` and the next `open`."""
        if not self._is_closed:
            self.partitions.update(partitions)
            self._wake()

    def asks_for(self, asked: set[Any]) -> bool:
        """Returns whether what was asked for then, of `partitions`, is what is asked for since the last `clear`."""
        return asked is self.partitions

    def discard(self, tp: TopicPartition) -> None:
        """Fetch a partition no more, until it is added again."""
        self.partitions.discard(tp)

    def clear(self) -> None:
        """Fetch nothing until `open`, and see to it that a fetch that is under way takes nothing more.

        Nothing is fetched before its position is sought. A fetch that is under way may outlast the rebalance. What it
        took after the next seek would be dropped as overtaken, although the consumer's position had moved past it: jobs
        would be lost. So it is left with a set of its own, and that empty.
        """
        self._is_closed = True
        left_behind, self.partitions = self.partitions, {NO_PARTITION}
        left_behind.intersection_update((NO_PARTITION,))
