"""What publishing hands back: the job's id at once, its place in the log once delivered."""

from typing import TYPE_CHECKING, NamedTuple

from producers.delivery.delivery_errors import failure_of, lost_report
from producers.errors import DeliveryFailed

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

    from producers.delivery.kafka_client import KafkaClient


class LogPosition(NamedTuple):
    """Where a job lies in the log."""

    topic: str
    partition: int
    offset: int


class Handle:
    """One published job, from the buffer to the log."""

    __slots__ = ("__weakref__", "_client", "_error", "_offset", "_partition", "id", "topic")

    id: str  # of the job
    topic: str

    def __init__(self, id: str, topic: str, client: "KafkaClient") -> None:  # noqa: A002 - the word for it, everywhere
        self.id = id
        self.topic = topic
        self._client = client
        self._partition: int = -1
        self._offset: int | None = None
        self._error: DeliveryFailed | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self._state()}>"

    @property
    def partition(self) -> int | None:
        """The partition the job lies in; None until delivered."""
        return None if self._offset is None else self._partition

    @property
    def offset(self) -> int | None:
        """The offset the job lies at; None until delivered."""
        return self._offset

    def done(self) -> bool:
        """Return whether the outcome is known; never blocks."""
        if not self._settled():
            self._client.poll(0)
        return self._settled()

    def _settled(self) -> bool:
        return self._offset is not None or self._error is not None

    def _state(self) -> str:
        if self._offset is not None:
            return f"at {self.topic}/{self._partition}/{self._offset}"
        return "pending" if self._error is None else "failed"

    def _outcome(self) -> LogPosition:
        """Return the position, or raise the failure, which counts as observed from now on."""
        if self._error is not None:
            self._client.failures.observe(self)
            raise self._error
        assert self._offset is not None  # noqa: S101 - asked for only when settled
        return LogPosition(self.topic, self._partition, self._offset)

    # Called once for every job by the client's poll(): this is a hot path.
    def _report(self, error: "KafkaError | None", message: "Message | None") -> None:
        if error is None:
            self._partition = message.partition()  # type: ignore[assignment, union-attr]
            self._offset = message.offset()  # type: ignore[union-attr]
        else:
            self._error = failure_of(self.id, self.topic, error, self._client.errors.reason())
            self._client.failures.add(self, self._error)
            self._client.undelivered(error)

    def _lose(self) -> None:
        """Settle a job whose report will never come: Ctrl-C has struck while it came, or another process has it."""
        if not self._settled():
            self._error = lost_report(self.id, self.topic)


class JobHandle(Handle):
    """A job published by a JobProducer."""

    __slots__ = ()

    def result(self, timeout: float | None = None) -> LogPosition:
        """Wait up to `timeout` seconds for delivery and return where the job lies.

        Raises DeliveryFailed, and DeliveryPending when the time has passed.
        """
        self._client.wait(self, timeout)
        return self._outcome()
