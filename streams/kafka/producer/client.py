"""One client of Kafka that writes, for as long as it works."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.delivery.lost_brokers import Silence, end_without_brokers
from streams.aio.blocking_calls import KAFKA
from streams.kafka.errors import kafka_error
from streams.kafka.producer.reported_offsets import ReportedOffsets
from streams.ports.records import OutgoingRecord

logger = logging.getLogger(__name__)

#: Seconds that a question about a topic may take.
_METADATA_TIMEOUT = 10.0

#: Seconds that a failed client is given for the answers on their way, and again for giving up what is left.
_PATIENCE = 1.0

#: Seconds between two looks for answers: at first, at the most, and where nothing is on its way.
_SHORTEST, _LONGEST, _IDLE = 0.001, 0.01, 0.1

#: How long answers are brought on within one turn of the loop. Seconds.
_SLICE = 0.002

_ANY_PARTITION = -1  # librdkafka's RD_KAFKA_PARTITION_UA


#: Is called with the error of a record, or with its offset if it is known.
Answered = Callable[[KafkaError | None, int | None], None]


class ProducerClient:
    """A confluent-kafka producer and the records on their way: used, and replaced, by a ReliableSender.

    Owned by the event loop on which it is made, which looks for answers now and then: a look costs microseconds, where
    a thread that waits for them would fight over the interpreter's lock for each. No method may be called from another
    thread, and none blocks. Once an idempotent producer has met a fatal error it never sends again; then `failed` is
    set, every record on its way is answered within some seconds, and the caller makes another client. So it is where a
    record has not got through in time: a producer may have lost sight of a partition's leader for good (librdkafka's
    issues 4898, where a topic was made anew, and 5430), or of all brokers (see producers.delivery.lost_brokers).
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._loop = asyncio.get_running_loop()
        #: The error that has ended it.
        self.failed: KafkaError | None = None
        self._on_way: dict[Answered, None] = {}
        #: What the producer has answered, and nobody was told yet.
        self._answers: deque[tuple[Answered, KafkaError | None, int | None]] = deque()
        #: Whether the next turn of the loop goes on telling.
        self._settling = False
        self._offsets = ReportedOffsets()
        self._producer: Producer | None = Producer({**config, "error_cb": self._note}, logger=logger)
        self._silence = Silence(config)
        #: When the client has last told of an error, as one does each second or so that reaches no broker.
        self._complained = 0.0
        #: A record that has not got through in time.
        self._late: KafkaError | None = None
        #: When a failed client gives up the answers on their way, and whether it was told to.
        self._gives_up_at, self._purged = 0.0, False
        self._pause = _IDLE
        self._next_look = self._loop.call_later(_IDLE, self._look)
        #: What goes on in a thread.
        self._blocking: set[asyncio.Task[None]] = set()

    async def write(self, record: OutgoingRecord) -> int | None:
        """Write a record; returns its offset when the broker has it, or None if the broker does not say where.

        Raises KafkaException when the record was not taken. What was on its way when the client failed may lie in the
        log all the same, or arrive there later.
        """
        written: asyncio.Future[int | None] = self._loop.create_future()

        def answered(error: KafkaError | None, offset: int | None) -> None:
            if written.done():
                return  # Nobody waits for it any more.
            if error is None:
                written.set_result(offset)
            else:
                written.set_exception(KafkaException(error))

        self.start(record, answered)
        return await written

    def start(self, record: OutgoingRecord, answered: Answered) -> None:
        """Begin to write a record; `answered` is called once, on the loop, with what `write` would raise or return.

        Raises KafkaException at once when the client cannot take it; then `answered` is not called.
        """

        def report(error: KafkaError | None, message: Message) -> None:
            self._answers.append((answered, error, None if error else self._offsets.of(message)))
            if error is not None and error.code() == KafkaError._MSG_TIMED_OUT:
                self._late = error

        try:
            self._working().produce(
                record.topic,
                record.value,
                record.key,
                partition=_ANY_PARTITION if record.partition is None else record.partition,
                headers=record.headers,
                timestamp=record.timestamp,
                on_delivery=report,
            )
        except BufferError as full:
            raise KafkaException(KafkaError(KafkaError._QUEUE_FULL, str(full))) from full
        except KafkaException as refused:
            if (fatal := _fatal(refused)) is not None:
                self._fail(fatal)
            raise
        if not self._on_way:
            self._pause = _SHORTEST
            self._look_later()
        self._on_way[answered] = None

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has; to ask also tells the producer."""
        ask = self._working().list_topics
        found = await KAFKA.run(ask, topic, timeout=_METADATA_TIMEOUT)
        return len(found.topics[topic].partitions)

    async def close(self) -> None:
        """Stop; records on their way may or may not reach the broker, and are never answered."""
        self._on_way.clear()
        self._next_look.cancel()
        self._let_go()
        if self._blocking:
            await asyncio.wait(self._blocking, timeout=_PATIENCE)

    def _working(self) -> Producer:
        if self._producer is None or self.failed:
            raise KafkaException(self.failed or KafkaError(KafkaError._DESTROY))
        return self._producer

    # -- answers ------------------------------------------------------------------------------------------------------

    def _look_later(self) -> None:
        self._next_look.cancel()
        self._next_look = self._loop.call_later(self._pause, self._look)

    def _look(self) -> None:
        """Bring the answers that there are, and see whether the client still works. It is looked again, whatever is
        raised: nobody else brings answers."""
        producer = self._producer
        if producer is None:
            return
        self._pause = min(self._pause * 1.5, _LONGEST if self._on_way else _IDLE)
        served = self._poll(producer)
        if served:
            self._pause = _SHORTEST
        self._look_later()
        if self._late is not None:
            self._fail(self._late)
        if self.failed:
            self._drain(producer, monotonic())
        elif served or not len(producer):
            self._silence.over()
        elif self._silence.is_long(self._complained):
            self._in_thread(self._look_for_brokers([producer]))
        if not self._settling:
            self._settle_all()

    def _poll(self, producer: Producer) -> int:
        """Take in what has happened. Returns how much that was."""
        try:
            return producer.poll(0)
        except Exception as raised:
            fatal = _fatal(raised)
            if fatal is not None:
                self._fail(fatal)
            else:
                logger.exception("the Kafka client has raised something unexpected, and goes on")
                self._pause = _IDLE
            return 0

    def _note(self, error: KafkaError) -> None:
        """Take in an error that no record has met. The client calls it within a poll."""
        self._complained = monotonic()
        logger.warning("Kafka client: %s", error)

    async def _look_for_brokers(self, producer: list[Producer]) -> None:
        """`producer` is given up to the thread: should it be the last to hold it, the loop is spared its end."""
        end = await KAFKA.run(lambda: end_without_brokers(producer.pop()))
        if end is not None:
            self._fail(end)

    def _settle_all(self) -> None:
        answers, end = self._answers, monotonic() + _SLICE
        self._settling = False
        while answers:
            self._settle(*answers.popleft())
            if answers and monotonic() >= end:
                self._settling = True
                self._loop.call_soon(self._settle_all)
                return

    def _settle(self, answered: Answered, error: KafkaError | None, offset: int | None) -> None:
        if self._on_way.pop(answered, self) is None:  # Else the client was closed, or has given the record up.
            answered(error, offset)

    # -- the end ------------------------------------------------------------------------------------------------------

    def end(self, why: str) -> None:
        """Take no more records; what is on its way is answered within some seconds, as after a fatal error."""
        self._fail(KafkaError(KafkaError._STATE, why), "is of no use any more")

    def _fail(self, error: KafkaError, what: str = "has failed for good") -> None:
        """Send nothing more; what is on its way is answered soon."""
        if self.failed or self._producer is None:
            return
        logger.error(
            "the Kafka client %s, another takes its place: %s; records on their way, sent again where they were not"
            " acknowledged: %d",
            what, error.str(), len(self._on_way),
        )  # fmt: skip
        self.failed = error
        self._gives_up_at = monotonic() + _PATIENCE
        self._pause = _SHORTEST
        self._look_later()

    def _drain(self, producer: Producer, now: float) -> None:
        """Wait for the answers that still come, each of which spares a duplicate; then give the rest up."""
        if len(producer) and now < self._gives_up_at:
            return
        if len(producer) and not self._purged:
            self._purged, self._gives_up_at = True, now + _PATIENCE
            producer.purge(blocking=False)
        elif not self._answers:
            self._let_go()
            for answered in list(self._on_way):
                self._settle(answered, self.failed, None)

    def _let_go(self) -> None:
        """Drop the producer, in a thread: its end waits for threads of its own, such as one that resolves a name."""
        if self._producer is not None:
            last, self._producer = [self._producer], None
            self._in_thread(KAFKA.run(last.clear))

    def _in_thread(self, call: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(call)
        self._blocking.add(task)
        task.add_done_callback(self._blocking.discard)


def _fatal(raised: Exception) -> KafkaError | None:
    """The error that is the end of an idempotent client; None for what it outlives."""
    error = kafka_error(raised)
    # `produce` calls it another way than `poll`.
    return error if error.fatal() or error.code() == KafkaError._FATAL else None
