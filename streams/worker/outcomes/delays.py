"""Moves a job that reached its queue before it is due to where delayed jobs wait."""

from __future__ import annotations

from producers.routing.topics import scheduled_topic
from schemas.headers import MOVED_FROM, Metadata, with_delay
from streams.ports.records import OutgoingRecord, WorkLane, origin_of


class NotDueYet(Exception):
    """A job is not to run before a time that has not come; it was published to its queue's topic all the same."""

    def __init__(self, metadata: Metadata, due_ms: int) -> None:
        self.metadata = metadata
        self.due_ms = due_ms
        super().__init__(f"job {metadata.id} is not due before {due_ms}")


def delayed_record(lane: WorkLane, early: NotDueYet, queue: str) -> OutgoingRecord:
    """The record by which the head of a lane waits: it names where the job lies in its queue's topic.

    So a job that is moved twice, since its worker died in between, is known when it has run already.
    """
    record, metadata = lane.head, early.metadata
    headers = with_delay(record.headers, queue=queue, key=record.key or None, due_ms=early.due_ms)
    # With its time: a topic that is made anew has other jobs at the same places.
    headers.append((MOVED_FROM, f"{origin_of(lane)}@{record.timestamp}".encode()))
    namespace = lane.owner.topic[: -len(queue) - 1]
    return OutgoingRecord(scheduled_topic(namespace), metadata.id.encode(), record.value, headers)
