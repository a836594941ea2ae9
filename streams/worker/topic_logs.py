"""Topics that are deleted, or made anew, while this worker has partitions of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from streams.core.offsets.log_id import UNKNOWN, differ
from streams.core.offsets.tracker import OffsetTracker
from streams.ports.group import GroupRequests
from streams.ports.records import Anew, PartitionStart, TopicPartition, WorkPartition

logger = logging.getLogger(__name__)


def logs_of(tp: TopicPartition, partition: WorkPartition) -> list[tuple[TopicPartition, OffsetTracker]]:
    """The logs of a partition: the queue's, and that of its retries."""
    retries = partition.retries
    return [(tp, partition.offsets)] if retries is None else [(tp, partition.offsets), (tp.retry, retries)]


class TopicLogs:
    """Which topics are missing, and which logs others have replaced. A part of the Assignment."""

    def __init__(self, requests: GroupRequests) -> None:
        """`requests` is asked to join the group again for a topic that is there again."""
        self._requests = requests
        #: Topics that are not there: nothing is committed for them.
        self.missing: set[str] = set()
        #: Ids of logs that others have replaced; a broker that has not heard of it yet may still tell them.
        self._gone: set[str] = set()
        #: By topic: the id that it had when a partition of it was opened last.
        self._opened: dict[str, str] = {}

    def note(self, topic: str, *, there: bool) -> None:
        """Note whether a topic is there, and say so where that is news."""
        if there:
            if topic in self.missing:
                self.missing.discard(topic)
                logger.warning("%s is there again", topic)
                self._requests.rejoin()
                self._requests.commit_soon()
        elif topic not in self.missing:
            self.missing.add(topic)
            logger.error(
                "%s is not there any more: somebody has deleted it. Nothing is read from it or committed for it until"
                " there is one again; what was read of it runs on, and so do all other queues. Create it, or remove the"
                " queue from this worker", topic,
            )  # fmt: skip

    def note_opened(self, topic: str, start: PartitionStart) -> bool:
        """Note what a partition of a topic is opened with.

        Returns whether the topic is another one than this worker, or whoever has committed, knew under its name.
        """
        known, now = self._opened.get(topic, UNKNOWN), start.log
        if now != UNKNOWN:
            self._opened[topic] = now
        return differ(known, now) or (start.anew and not (known == now != UNKNOWN))

    def compare(self, tp: TopicPartition, partition: WorkPartition, ids: Mapping[str, str | None]) -> Anew:
        """Compare the logs of a partition with the ids that topics have by now, and take over those not known before.

        Returns the logs that others have replaced.
        """
        anew: dict[TopicPartition, int | None] = {}
        for place, offsets in logs_of(tp, partition):
            now = ids.get(place.topic) or UNKNOWN
            if differ(offsets.log, now) and now not in self._gone:
                anew[place] = None
            elif offsets.log == UNKNOWN != now:
                offsets.identify(now)
                offsets.mark_changed()
        return anew

    def forget(self, tp: TopicPartition, partition: WorkPartition, anew: Anew) -> None:
        """Believe no broker any more that tells the ids of logs that others have replaced."""
        self._gone.update(offsets.log for place, offsets in logs_of(tp, partition) if place in anew and offsets.log)
        for place in anew:
            self._opened.pop(place.topic, None)


def tell_replaced(replaced: Iterable[TopicPartition]) -> None:
    """Log which topics were made anew, with how many partitions here."""
    counts: dict[str, int] = {}
    for place in replaced:
        counts[place.topic] = counts.get(place.topic, 0) + 1
    for topic, count in counts.items():
        logger.error(
            "%s was deleted and made anew: its %d partitions here are read from the start. Of the old ones nothing"
            " more is run or committed; jobs that run are cancelled", topic, count,
        )  # fmt: skip
