"""What a newly assigned partition goes on from: its offsets as the group has left them, and what is odd about them."""

from __future__ import annotations

import logging

from streams.core.offsets.finished_map import MapInvalid
from streams.core.offsets.tracker import OffsetTracker
from streams.ports.records import PartitionStart, TopicPartition

logger = logging.getLogger(__name__)


def restored_offsets(tp: TopicPartition, place: PartitionStart) -> OffsetTracker:
    """The offsets of a partition, of a queue or of its retry topic, as the group has left them."""
    offsets = _restored(tp, place)
    offsets.identify(place.log)
    return offsets


def warn_of_moves(tp: TopicPartition, queue: PartitionStart, retries: PartitionStart) -> None:
    """Say where somebody else has moved the group, since nobody but the log can tell which jobs ran."""
    by = (
        "was committed by something other than a worker of this version: kafka-consumer-groups.sh --reset-offsets, or a"
        " worker of an earlier one that has stopped in order"
    )
    if queue.moved:
        logger.warning("%s-%d: offset %d %s: no job below it runs, and all from it on run.", *tp, queue.offset, by)
    if retries.moved:
        logger.warning(
            "%s-%d: offset %d %s: jobs that are parked below it wait no longer and never run.",
            *tp.retry, retries.offset, by,
        )  # fmt: skip


def _restored(tp: TopicPartition, place: PartitionStart) -> OffsetTracker:
    if place.offset is None:
        return OffsetTracker(place.start)
    if place.anew:
        logger.error(
            "%s-%d: what is committed, offset %d, is of another log than this one, which ends at %d: the topic was made"
            " anew. Reading it from %d.",
            *tp, place.offset, place.end, place.start,
        )  # fmt: skip
        return OffsetTracker(place.start)
    offsets = _restore_map(tp, place.offset, place.metadata)
    if offsets.watermark < place.start:
        logger.error(
            "%s-%d: retention removed jobs before they ran: offset %d was unfinished, and the log starts at %d.",
            *tp, offsets.watermark, place.start,
        )  # fmt: skip
    offsets.skip_to(place.start)
    return offsets


def _restore_map(tp: TopicPartition, offset: int, metadata: str) -> OffsetTracker:
    try:
        return OffsetTracker(offset, metadata)
    except MapInvalid as error:
        logger.error(
            "%s-%d: the commit's finished-offset map cannot be read (%s); finished jobs beyond offset %d run again.",
            *tp, error, offset,
        )  # fmt: skip
        return OffsetTracker(offset)
