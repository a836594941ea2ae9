"""One failing or parked job, as its partition's owner keeps it in memory."""

from __future__ import annotations

from typing import Generic, TypeVar

from streams.core.log_id import UNKNOWN

R = TypeVar("R")

#: The offset of an entry that no acknowledged record of the retry log stands for yet.
NOT_WRITTEN = -1


class Entry(Generic[R]):
    """A job that waits for its retry, or behind one, and the record in the retry log that stands for it.

    It is *writing* from the moment its record must go to the retry log until the broker has acknowledged it, and
    *parked* after that. While it is writing, attempt and due_ms are what to write.

    record    what to run: its key, value and headers
    position  offset in the queue partition of the record that it came as; below 0 if that log is gone
    attempt   attempts made before the next run
    due_ms    epoch milliseconds before which it must not run; 0 if it was diverted and never tried
    offset    of its last acknowledged record in the retry log; NOT_WRITTEN while it is still the queue's
    failed_ms epoch milliseconds of its first failure that this owner has seen; 0 if there was none
    log       id of the queue's log that its record names; UNKNOWN where it names none
    stated    its position there, as the record says: not `position` where that log is gone
    since_ms  epoch milliseconds from which a deadline counts where its record has no time: when it first came back
    """

    # There may be hundreds of thousands.
    __slots__ = (
        "attempt", "due_ms", "failed_ms", "log", "offset", "position", "record", "since_ms", "stated", "writing",
    )  # fmt: skip

    def __init__(
        self,
        record: R,
        position: int,
        *,
        attempt: int = 0,
        due_ms: int = 0,
        offset: int = NOT_WRITTEN,
        writing: bool = False,
    ) -> None:
        self.record = record
        self.position = self.stated = position
        self.log = UNKNOWN
        self.attempt = attempt
        self.due_ms = due_ms
        self.offset = offset
        self.writing = writing
        self.failed_ms = 0
        self.since_ms = 0

    def __repr__(self) -> str:
        state = "writing" if self.writing else f"at {self.offset}"
        return f"Entry({self.position}, attempt={self.attempt}, due_ms={self.due_ms}, {state})"

    @property
    def untried(self) -> bool:
        """Whether it was diverted behind a failing job of its key, and waits only for that (header job-parked)."""
        return self.due_ms == 0
