"""Carries what the worker's assignment asks for to the Faust consumer, which is made later than both."""

from __future__ import annotations

from typing import Protocol

from streams.ports.records import Anew, TopicPartition


class RequestHandler(Protocol):
    """What does what is asked for: the consumer."""

    def fetch_again(self, tp: TopicPartition) -> None: ...
    def reopen(self, tp: TopicPartition, anew: Anew) -> None: ...
    def rejoin(self) -> None: ...
    def commit_soon(self) -> None: ...
    def commit_now(self) -> None: ...


class ConsumerRequests:
    """The GroupRequests of a worker: made before the consumer, which is attached once."""

    def __init__(self) -> None:
        self._handler: RequestHandler | None = None

    def serve(self, handler: RequestHandler) -> None:
        """Have everything be done by this consumer from now on. Raises RuntimeError for a second one."""
        if self._handler is not None:
            raise RuntimeError("the requests of a worker are another consumer's already")
        self._handler = handler

    @property
    def _served(self) -> RequestHandler:
        if self._handler is None:
            raise RuntimeError("the worker has asked for something before there was a consumer")
        return self._handler

    def fetch_again(self, tp: TopicPartition) -> None:
        """Fetch a partition whose jobs had filled their bounds."""
        self._served.fetch_again(tp)

    def reopen(self, tp: TopicPartition, anew: Anew) -> None:
        """Open a partition again that was given up, since one of its logs is another one."""
        self._served.reopen(tp, anew)

    def rejoin(self) -> None:
        """Join the group again: topics are there that were not."""
        self._served.rejoin()

    def commit_soon(self) -> None:
        """Commit with the next round: there is something to commit again."""
        self._served.commit_soon()

    def commit_now(self) -> None:
        """Commit at once: somebody waits for the answer."""
        self._served.commit_now()
