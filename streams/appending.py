"""One record on its way to its log: no task is made for it, for as long as nothing goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from streams.outgoing import Outgoing
from streams.sender import Sender


class Append:
    """A record whose place must be known, written until the broker has it. Owned by the event loop.

    told    called with this and the offset of the record, unless it was cancelled
    failed  called with this and an error of ours, after which nothing more is tried
    """

    __slots__ = ("_cancelled", "_failed", "_record", "_sender", "_task", "_told")

    def __init__(
        self,
        sender: Sender,
        record: Outgoing,
        told: Callable[[Append, int], None],
        failed: Callable[[Append, BaseException], None],
    ) -> None:
        self._sender = sender
        self._record = record
        self._told = told
        self._failed = failed
        self._task: asyncio.Task[int] | None = None
        self._cancelled = False

    def start(self) -> None:
        """Hand the record to the client: those of one partition lie in the log in the order of these calls, as far as
        the sender promises it."""
        try:
            self._sender.start(self._record, self._answered)
        except KafkaException as refused:
            self._send_again(refused)

    def cancel(self) -> None:
        """Wait for it no longer; the broker may get it all the same."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def _answered(self, error: KafkaError | None, offset: int | None) -> None:
        if self._cancelled:
            return
        if error is None and offset is not None:
            self._told(self, offset)
        else:
            self._send_again(None if error is None else KafkaException(error))

    def _send_again(self, refused: KafkaException | None) -> None:
        self._task = asyncio.ensure_future(self._sender.append_again(self._record, refused))
        self._task.add_done_callback(self._sent_again)

    def _sent_again(self, task: asyncio.Task[int]) -> None:
        if self._cancelled or task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._told(self, task.result())
        else:
            self._failed(self, error)
