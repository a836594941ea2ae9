"""What the worker asks of its consumer, on its way from objects that are made before the consumer is."""

from __future__ import annotations

from streams.ports.group import GroupRequests
from streams.ports.records import Anew, TopicPartition


class ConsumerRequests:
    """Hands requests of the assignment and the quarantine to the consumer, which Faust makes long after both.

    The composition root makes one of it for each worker; the consumer attaches itself with `serve`. Everything is
    called on the worker's event loop. Raises RuntimeError when something is asked for before a consumer serves it.
    """

    def __init__(self) -> None:
        self._consumer: GroupRequests | None = None

    def serve(self, consumer: GroupRequests) -> None:
        """Have a consumer do from now on what is asked for. Raises RuntimeError if there is one already."""
        if self._consumer is not None:
            raise RuntimeError("another consumer serves these requests already")
        self._consumer = consumer

    def fetch_again(self, tp: TopicPartition) -> None:
        """Fetch a partition whose jobs had filled their bounds."""
        self._serving.fetch_again(tp)

    def reopen(self, tp: TopicPartition, anew: Anew) -> None:
        """Open a partition again that was given up, since one of its logs is another one."""
        self._serving.reopen(tp, anew)

    def rejoin(self) -> None:
        """Join the group again: topics are there that were not."""
        self._serving.rejoin()

    def commit_soon(self) -> None:
        """Commit with the next round: there is something to commit again."""
        self._serving.commit_soon()

    def commit_now(self) -> None:
        """Commit at once: somebody waits for the answer."""
        self._serving.commit_now()

    @property
    def _serving(self) -> GroupRequests:
        if self._consumer is None:
            raise RuntimeError("the consumer was asked for something before there was one")
        return self._consumer
