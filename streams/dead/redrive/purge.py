"""Marks dead letters as handled, and has the broker delete what nobody needs any more."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.dead.handled.notes import Notes
from streams.dead.handled.offsets import Handled
from streams.dead.redrive.plan import Part, Plan, map_full
from streams.dead.topic.reader import REQUEST_TIMEOUT


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge has done."""

    #: Letters marked as handled.
    marked: int
    #: Records that the broker has deleted, those that were redriven earlier among them.
    deleted: int
    #: What the broker did not delete, and why.
    kept: tuple[str, ...] = ()


def purge(plan: Plan, notes: Notes, admin: AdminClient) -> Purged:
    """Mark the letters of a plan, and delete each partition's records up to the first that is not handled.

    Raises SomebodyElse, or MapFull before anything is marked.
    """
    handled = {part.partition: part.handled.and_offsets(part.offsets) for part in plan.parts}
    for part in plan.parts:
        if not handled[part.partition].fits():
            raise map_full(notes.topic, part.partition, part.handled)
    for part in plan.parts:
        # Without a claim: one that a redrive has put there is gone with it, so that it stops.
        notes.write(part.partition, handled[part.partition], "", expected=part.commit)
    deleted, kept = _delete(plan.parts, handled, notes.topic, admin)
    return Purged(plan.count, deleted, kept)


def _delete(
    parts: tuple[Part, ...], handled: dict[int, Handled], topic: str, admin: AdminClient
) -> tuple[int, tuple[str, ...]]:
    starts = {part.partition: part.start for part in parts}
    ends = [
        TopicPartition(topic, part.partition, handled[part.partition].watermark)
        for part in parts
        if handled[part.partition].watermark > part.start
    ]
    deleted, kept = 0, []
    for end, request in (admin.delete_records(ends, request_timeout=REQUEST_TIMEOUT) if ends else {}).items():
        try:
            deleted += request.result().low_watermark - starts[end.partition]
        except KafkaException as error:
            kept.append(f"partition {end.partition}: {error.args[0].str()}")
    return deleted, tuple(kept)
