"""The headers of a delayed job on the topic where it waits, and of the commands that change when it falls due.

Its record has the job's id as key. A tombstone of that key cancels it; one with `job-fired` says that it went to its
queue. A command lies beside it under a key of its own, so that compaction keeps both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from schemas.errors import HeaderInvalid
from schemas.headers.failure import without
from schemas.headers.job import number
from schemas.headers.names import (
    CE_ID,
    COMMAND,
    DELAYED_UNTIL,
    EXPIRES_AT,
    FIRED,
    KEY,
    LOG,
    MOVED_FROM,
    NOT_BEFORE,
    OWNER,
    PARKED,
    POSITION,
    QUEUE,
    SCHEDULED_FOR,
    TEXT_LIMIT,
    Headers,
)

#: What the key of a command begins with; the id of the job that it is for follows.
COMMAND_PREFIX = b"command/"

#: What the keys of recurring schedules begin with, which no delayed job may have.
SCHEDULE_PREFIX = b"schedule/"

#: The one command so far: the job falls due at `job-not-before`.
RESCHEDULE = b"reschedule"

_QUEUE_NAME = f"the name of a queue, of 1 to {TEXT_LIMIT} bytes"
_REQUIRED_TIME = "epoch milliseconds, a whole number of at most 14 digits, which says when the job falls due"

#: Of the time when a job falls due: the last is in the year 5138.
DUE_DIGITS = 14
_ID = f"an id of 1 to {TEXT_LIMIT} bytes of UTF-8 text that begins with neither command/ nor schedule/"


class DelayedJob(NamedTuple):
    """What a record on the topic of delayed jobs says of its job."""

    id: bytes
    queue: str
    key: bytes | None  # the ordering key
    due_ms: int  # epoch milliseconds
    moved_from: bytes | None  # where it lay in its queue's topic, if it was moved from there


def with_delay(headers: Headers, *, queue: str, key: bytes | None, due_ms: int) -> list[tuple[str, bytes | None]]:
    """Headers of a job that waits: its own, and where it goes, and when (epoch milliseconds)."""
    kept = without(_OF_WAITING, headers)
    kept.append((NOT_BEFORE, b"%d" % due_ms))
    kept.append((QUEUE, queue.encode()))
    if key is not None:
        kept.append((KEY, key))
    return kept


def read_delayed(key: bytes, headers: Headers) -> DelayedJob:
    """Reads a record that is to be a delayed job; raises HeaderInvalid, whose name is "key" for a key that is no id."""
    if not is_delayed_id(key):
        raise HeaderInvalid("key", key, _ID)
    found = dict(headers)
    queue = found.get(QUEUE)
    if not queue or len(queue) > TEXT_LIMIT or not queue.isascii():
        raise HeaderInvalid(QUEUE, queue, _QUEUE_NAME)
    moved_from = found.get(MOVED_FROM)
    if moved_from is not None and len(moved_from) > TEXT_LIMIT:
        raise HeaderInvalid(MOVED_FROM, moved_from, "topic/partition/offset")
    return DelayedJob(key, queue.decode(), found.get(KEY) or None, _due(found), moved_from)


def is_delayed_id(key: bytes) -> bool:
    """Whether a delayed job may have this id."""
    if not 0 < len(key) <= TEXT_LIMIT or key.startswith((COMMAND_PREFIX, SCHEDULE_PREFIX)):
        return False
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True


def when_due(job: DelayedJob, headers: Headers, due_ms: int) -> list[tuple[str, bytes | None]]:
    """Headers of a job that goes to its queue: those it waited with, without what says so.

    due_ms  when it has fallen due, which a command may have changed: its expiry moves along
    """
    kept = without(_OF_WAITING, headers)
    if CE_ID not in dict(kept):
        kept.append((CE_ID, job.id))
    return [*_expiring(kept, due_ms - job.due_ms), (SCHEDULED_FOR, b"%d" % due_ms)]


def still_waiting(job: DelayedJob, headers: Headers, due_ms: int) -> list[tuple[str, bytes | None]]:
    """Headers of a job that waits on, to be written again: its expiry moves along with the time when it is due now."""
    kept = with_delay(_expiring(list(headers), due_ms - job.due_ms), queue=job.queue, key=job.key, due_ms=due_ms)
    if job.moved_from is not None:
        kept.append((MOVED_FROM, job.moved_from))
    return kept


def _expiring(headers: list[tuple[str, bytes | None]], shift: int) -> list[tuple[str, bytes | None]]:
    expires = dict(headers).get(EXPIRES_AT)
    # One that cannot be read stays as it is, and makes a dead letter of the job, as it would have without a delay.
    if not shift or expires is None or not expires.isdigit() or len(expires) > _DIGITS:
        return headers
    moved = min(max(0, int(expires) + shift), 10**_DIGITS - 1)
    return [*without(frozenset({EXPIRES_AT}), headers), (EXPIRES_AT, b"%d" % moved)]


def scheduled_for(headers: Headers) -> int | None:
    """When a job fell due that was delayed, in epoch milliseconds; None for any other."""
    value = dict(headers).get(SCHEDULED_FOR)
    # Fewer digits than elsewhere: a time that datetime can tell.
    return int(value) if value and value.isdigit() and len(value) <= DUE_DIGITS else None


def fired_mark(mark: bytes, moved_from: bytes | None = None) -> list[tuple[str, bytes]]:
    """Headers of the tombstone of a job that has gone to its queue: who says so, and where it was moved from."""
    return [(FIRED, mark)] if moved_from is None else [(FIRED, mark), (MOVED_FROM, moved_from)]


def reschedule(due_ms: int) -> list[tuple[str, bytes]]:
    """Headers of the command that a job fall due at another time."""
    return [(COMMAND, RESCHEDULE), (NOT_BEFORE, b"%d" % due_ms)]


def command_key(job_id: bytes) -> bytes:
    """The key of the command for a job."""
    return COMMAND_PREFIX + job_id


def read_reschedule(headers: Headers) -> int:
    """The time, in epoch milliseconds, that a command says; raises HeaderInvalid."""
    found = dict(headers)
    if found.get(COMMAND) != RESCHEDULE:
        raise HeaderInvalid(COMMAND, found.get(COMMAND), RESCHEDULE.decode())
    return _due(found)


def _due(found: Mapping[str, bytes | None]) -> int:
    due_ms = number(found, NOT_BEFORE, DUE_DIGITS, _REQUIRED_TIME)
    if due_ms is None:
        raise HeaderInvalid(NOT_BEFORE, None, _REQUIRED_TIME)
    return due_ms


#: What belongs to a job's waiting, here or in a retry topic from where it was moved.
_OF_WAITING = frozenset(
    {NOT_BEFORE, QUEUE, KEY, SCHEDULED_FOR, MOVED_FROM, DELAYED_UNTIL, PARKED, POSITION, OWNER, LOG}
)
_DIGITS = 18
