"""One failing or parked job, as its partition's owner keeps it in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from streams.core.offsets.log_id import UNKNOWN

R = TypeVar("R")

#: Makes of a record one that takes less memory, with this object for its key, which is an equal one.
Pack = Callable[[R, "bytes | None"], R]

#: The retry offset of a job that no acknowledged record of the retry log stands for yet.
NOT_WRITTEN = -1


class ParkedJob(Generic[R]):
    """A job that waits for its retry, or behind one, and the record in the retry log that stands for it.

    Kept in memory by the QueuePartition that owns it, and written to the retry topic by a RetryWriter.

    It is *held* while it comes back soon, or waits behind one that does: still the queue's, and unfinished there. It is
    *writing* from the moment its record must go to the retry log until the broker has acknowledged it, and *parked*
    after that. While it is writing, attempt, due_ms and failure are what to write.

    record        what to run: its key, value and headers
    queue_offset  in the queue partition, of the record that it came as; below 0 if that log is gone
    attempt       attempts made before the next run
    due_ms        epoch milliseconds before which it must not run; 0 if it was diverted and never tried
    retry_offset  of its last acknowledged record in the retry log; NOT_WRITTEN while it is still the queue's
    failed_ms     epoch milliseconds of its first failure that this owner has seen; 0 if there was none
    failure       type and message of its last failure, until they are written; None if it has not failed
    log           id of the queue's log that its record names; UNKNOWN where it names none
    stated_offset its offset there, as the record says: not `queue_offset` where that log is gone
    since_ms      epoch milliseconds from which a deadline counts where its record has no time: when it first came back
    """

    # There may be hundreds of thousands.
    __slots__ = (
        "attempt", "due_ms", "failed_ms", "failure", "log", "queue_offset", "record", "retry_offset", "since_ms",
        "stated_offset", "writing",
    )  # fmt: skip

    def __init__(
        self,
        record: R,
        queue_offset: int,
        *,
        attempt: int = 0,
        due_ms: int = 0,
        retry_offset: int = NOT_WRITTEN,
        writing: bool = False,
    ) -> None:
        self.record = record
        self.queue_offset = self.stated_offset = queue_offset
        self.log = UNKNOWN
        self.attempt = attempt
        self.due_ms = due_ms
        self.retry_offset = retry_offset
        self.writing = writing
        self.failed_ms = 0
        self.failure: tuple[str, str] | None = None
        self.since_ms = 0

    def __repr__(self) -> str:
        state = "writing" if self.writing else f"at {self.retry_offset}"
        return f"ParkedJob({self.queue_offset}, attempt={self.attempt}, due_ms={self.due_ms}, {state})"

    def pack(self, how: Pack[R], key: bytes | None) -> None:
        """Keep the record in less memory, with this object for its key, which is an equal one."""
        self.record = how(self.record, key)

    def come_back(self, attempt: int, due_ms: int, now_ms: int, failure: tuple[str, str] | None) -> None:
        """Note that it has failed, or wants to run again, and when it does: see QueuePartition.postpone."""
        self.attempt, self.due_ms, self.failure = attempt, due_ms, failure
        self.note_return(now_ms)
        if failure is not None:
            self.failed_ms = self.failed_ms or now_ms

    def note_return(self, now_ms: int) -> None:
        """Note that it comes back, the first time that it does."""
        self.since_ms = self.since_ms or now_ms

    def take_failure(self) -> tuple[str, str] | None:
        """Returns, once, type and message of its last failure, to be written; None if it has not failed."""
        failure, self.failure = self.failure, None
        return failure

    @property
    def held(self) -> bool:
        """Whether it is the queue's still, and stays so for now."""
        return self.retry_offset == NOT_WRITTEN and not self.writing

    @property
    def place(self) -> int:
        """What tells it from other heads that its lane has had: its retry offset, or where it lies in the queue."""
        return self.retry_offset if self.retry_offset >= 0 else -2 - self.queue_offset

    @property
    def untried(self) -> bool:
        """Whether it was diverted behind a failing job of its key, and waits only for that (header job-parked)."""
        return self.due_ms == 0
