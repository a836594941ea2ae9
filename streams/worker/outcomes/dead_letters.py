"""Makes the dead letter of a job that is given up: the same record, with why it is there."""

from __future__ import annotations

import time

from producers.routing.topics import dead_topic
from schemas.headers import with_failure
from streams.core.retry.failure import Failure
from streams.ports.records import OutgoingRecord, WorkLane, origin_of


def dead_letter_of(lane: WorkLane, failed: Failure, made: int | None) -> OutgoingRecord:
    """The dead letter of the head of a lane: the same partition, key and raw value, with why it is there.

    made  attempts that were made; None if the headers say it still
    """
    record, partition = lane.head, lane.owner
    headers = with_failure(
        record.headers,
        origin=origin_of(lane),
        error_type=failed.error_type,
        error_message=failed.message,
        error_stack=failed.stack,
        now_ms=int(time.time() * 1000),
        attempt=made,
        first_failed_ms=0 if lane.entry is None else lane.entry.failed_ms,
    )
    return OutgoingRecord(
        dead_topic(partition.topic), record.key, record.value, headers, partition.number, anywhere=True
    )
