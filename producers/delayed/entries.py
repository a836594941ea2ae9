"""What a record of the topic of delayed jobs says: a job that waits, a time that is changed, or an end."""

from typing import NamedTuple

from producers.errors import OptionInvalid
from producers.routing.topics import queue_topic
from schemas.errors import HeaderInvalid
from schemas.headers import (
    COMMAND_PREFIX,
    FIRED,
    MOVED_FROM,
    SCHEDULE_PREFIX,
    DelayedJob,
    Headers,
    read_delayed,
    read_reschedule,
)


class Waiting(NamedTuple):
    """A job waits."""

    job: DelayedJob


class Rescheduled(NamedTuple):
    """A job falls due at another time, in epoch milliseconds."""

    id: bytes
    due_ms: int


class Ended(NamedTuple):
    """A job waits no longer: it was cancelled, or has gone to its queue.

    mark        of the owner that has fired it; None where it was cancelled
    moved_from  where it lay in its queue's topic, if it was moved from there
    """

    id: bytes
    mark: bytes | None
    moved_from: bytes | None


class Malformed(NamedTuple):
    """A record is none of these; in `why` a sentence that says what is expected."""

    why: str


class OfSchedule(NamedTuple):
    """A record is of a recurring schedule."""

    key: bytes


Entry = Waiting | Rescheduled | Ended | Malformed | OfSchedule


def read_entry(key: bytes, value: bytes | None, headers: Headers | None, namespace: str) -> Entry:
    """What a record says.

    headers  None where the name of one is no UTF-8
    """
    if key.startswith(SCHEDULE_PREFIX):
        return OfSchedule(key)
    if value is None:
        found = dict(headers or ())
        return Ended(key, found.get(FIRED), found.get(MOVED_FROM))
    if headers is None:
        return Malformed("its headers have names that are no UTF-8")
    try:
        if key.startswith(COMMAND_PREFIX):
            return Rescheduled(key.removeprefix(COMMAND_PREFIX), read_reschedule(headers))
        return Waiting(_known(read_delayed(key, headers), namespace))
    except (HeaderInvalid, OptionInvalid) as error:
        return Malformed(str(error))


def _known(job: DelayedJob, namespace: str) -> DelayedJob:
    queue_topic(namespace, job.queue)
    return job
