"""A delayed job, as whoever asks for it is told of it."""

from datetime import UTC, datetime
from typing import NamedTuple


class WaitingJob(NamedTuple):
    """A delayed job that waits for its time.

    type    of the job, as its publisher states it; empty where it does not
    due_ms  when it falls due, in epoch milliseconds
    """

    id: str
    queue: str
    type: str
    key: str | None
    due_ms: int

    @property
    def due(self) -> datetime:
        """When it falls due."""
        return datetime.fromtimestamp(self.due_ms / 1000, UTC)

    def due_at(self, due_ms: int) -> "WaitingJob":
        """The same job, due at another time."""
        return self._replace(due_ms=due_ms)
