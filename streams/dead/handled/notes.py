"""Notes of what is handled: commits of a consumer group that nobody is a member of."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

from confluent_kafka import TopicPartition

from producers.cluster import Cluster
from streams.core.offsets.finished_map import MapInvalid
from streams.dead.errors import MapFull, NotesUnreadable, SomebodyElse
from streams.dead.handled.group_offsets import read_committed
from streams.dead.handled.offsets import Handled, join, split
from streams.dead.topic.reader import REQUEST_TIMEOUT, asking, open_dead_consumer


@dataclass(frozen=True, slots=True)
class GroupCommit:
    """A commit of a group for one partition. Two are equal only if nobody has committed in between."""

    offset: int
    metadata: str

    @property
    def claim(self) -> str:
        """The mark of the redrive or purge that wrote it, which goes on only while it is still there."""
        return split(self.metadata)[1]


class Notes(AbstractContextManager["Notes"]):
    """The notes of one dead-letter topic. Every call blocks; commits are acknowledged when it returns."""

    def __init__(self, cluster: Cluster, group: str, topic: str) -> None:
        self.group = group
        self.topic = topic
        self._cluster = cluster
        self._consumer = open_dead_consumer(cluster, group)

    def read(self, partitions: Iterable[int]) -> dict[int, GroupCommit]:
        """Returns what is committed for each partition; its offset is below 0 where there is nothing."""
        found = read_committed(self._cluster, self.group, self.topic, list(partitions), REQUEST_TIMEOUT)
        # confluent-kafka commits a C string, with the zero at its end.
        return {partition: GroupCommit(each.offset, each.metadata.rstrip("\0")) for partition, each in found.items()}

    def handled(self, partition: int, commit: GroupCommit, start: int) -> Handled:
        """Returns what is handled in a partition whose log begins at `start`. Raises NotesUnreadable."""
        if commit.offset < 0:
            return Handled(start)
        try:
            return Handled.read(commit.offset, split(commit.metadata)[0]).from_start(start)
        except MapInvalid as error:
            raise NotesUnreadable(
                f"what group {self.group!r} has committed for partition {partition} of {self.topic!r} is no note of"
                f" ours ({error}); to begin anew, with every letter undone again: kafka-consumer-groups.sh"
                f" --delete-offsets --group {self.group} --topic {self.topic}"
            ) from error

    def check(self, partition: int, expected: GroupCommit) -> None:
        """Raise SomebodyElse if a partition's notes are no longer as expected."""
        if self.read([partition])[partition] != expected:
            raise SomebodyElse(
                f"another redrive or purge is at work on partition {partition} of {self.topic!r}, and has changed the"
                " notes of what is handled: this one stops. Look at what is left when the other has ended"
            )

    def write(self, partition: int, handled: Handled, claim: str, *, expected: GroupCommit) -> GroupCommit:
        """Commit what is handled, if the notes are still as expected; returns what they are now.

        Raises SomebodyElse or MapFull; then nothing is committed. Kafka cannot compare and set, so two that write
        within the same moment are told apart only at the next check.
        """
        if not handled.fits():
            raise MapFull(f"the map of partition {partition} of {self.topic!r} does not fit into a commit")
        self.check(partition, expected)
        commit = GroupCommit(handled.watermark, join(handled.text, claim))
        with asking():
            self._consumer.commit(
                offsets=[TopicPartition(self.topic, partition, commit.offset, commit.metadata)], asynchronous=False
            )
        return commit

    def close(self) -> None:
        """Closes the Kafka client."""
        self._consumer.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes the Kafka client."""
        self.close()
