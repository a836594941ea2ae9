"""What a worker writes its records with: retries, dead letters and follow-up jobs. Kafka's is ReliableSender."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from streams.ports.records import OutgoingRecord

#: Called once, on the event loop and never from within `append`: with an error of ours, after which nothing more is
#: tried, or with None and the record's offset; that is None where nobody knows it and it was not needed.
OnAppended = Callable[[BaseException | None, int | None], None]


class Append(Protocol):
    """One record on its way to its log."""

    def cancel(self) -> None:
        """Wait for it no longer: its OnAppended is not called any more. The log may get it all the same."""


class RecordWriter(Protocol):
    """Writes records to their logs, each until the log has it. Owned by the worker's event loop; nothing blocks.

    The worker's outcomes are written with it. What it is made of, a Kafka producer or a list of a test, is chosen by
    whoever puts the worker together.
    """

    def append(self, record: OutgoingRecord, done: OnAppended, *, needs_offset: bool) -> Append:
        """Write a record until the log has it, and call `done` then.

        Those of one partition lie in the log in the order of these calls, as far as nothing had to be sent again.

        needs_offset  whether its offset must be known: it is written twice rather than not
        """

    async def send(self, record: OutgoingRecord) -> None:
        """Write a record; returns when the log has it. Raises FollowUpRefused for what time does not heal."""

    async def partitions(self, topic: str) -> int | None:
        """Returns how many partitions a topic has now; None where nobody can tell, or it is not there."""

    def renew(self, topic: str) -> None:
        """A topic was deleted and created again: what is on its way to it may be held up for long, so begin afresh."""

    def warm_up(self) -> None:
        """Get ready, so that the first record need not wait for that."""

    async def close(self) -> None:
        """Stop; what is on its way may or may not reach its log."""
