"""One client of Kafka that writes, for as long as it works."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
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

#: Seconds for which the poller sleeps where nothing happens.
_POLL = 0.1

#: How long answers are brought on within one turn of the loop. Seconds.
_SLICE = 0.002

_ANY_PARTITION = -1  # librdkafka's RD_KAFKA_PARTITION_UA


#: Is called with the error of a record, or with its offset if it is known.
Answered = Callable[[KafkaError | None, int | None], None]


class ProducerClient:
    """A confluent-kafka producer, the thread that polls it, and the records on their way: used, and replaced, by a
    ReliableSender.

    Owned by the event loop on which it is made: no method may be called from another thread, and none blocks. Once
    an idempotent producer has met a fatal error it never sends again; then `failed` is set, every record on its way is
    answered within some seconds, and the caller makes another client. So it is where a record has not got through in
    time: a producer may have lost sight of a partition's leader for good (librdkafka's issues 4898, where a topic was
    made anew, and 5430), or of all brokers (see producers.delivery.lost_brokers).
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._loop = asyncio.get_running_loop()
        #: The error that has ended it.
        self.failed: KafkaError | None = None
        self._on_way: dict[Answered, None] = {}
        #: Answers that the poller has brought, and whether the loop was told that there are any.
        self._answers: deque[tuple[Answered, KafkaError | None, int | None]] = deque()
        self._told = False
        self._offsets = ReportedOffsets()
        self._over = threading.Event()
        # The poller holds the last reference: letting go of a producer may block, as on a name that is being resolved.
        self._producer: Producer | None = Producer({**config, "error_cb": self._note}, logger=logger)
        #: When the client has last told of an error, as one does each second or so that reaches no broker.
        self._complained = 0.0
        self._poller = threading.Thread(
            target=self._poll, args=(self._producer, Silence(config)), name="sender-poll", daemon=True
        )
        self._poller.start()

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
            self._bring(answered, error, None if error else self._offsets.of(message))
            if error is not None and error.code() == KafkaError._MSG_TIMED_OUT:
                self._tell(lambda: self._fail(error))

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
        self._on_way[answered] = None

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has; to ask also tells the producer."""
        ask = self._working().list_topics
        found = await KAFKA.run(ask, topic, timeout=_METADATA_TIMEOUT)
        return len(found.topics[topic].partitions)

    async def close(self) -> None:
        """Stop; records on their way may or may not reach the broker, and are never answered."""
        self._on_way.clear()
        self._producer = None
        self._over.set()
        await KAFKA.run(self._poller.join, _PATIENCE)

    def _working(self) -> Producer:
        if self._producer is None:
            raise KafkaException(self.failed or KafkaError(KafkaError._DESTROY))
        return self._producer

    def _settle_all(self) -> None:
        # In this order: what the poller brings after the first line has the loop told again.
        self._told = False
        answers, end = self._answers, monotonic() + _SLICE
        for _ in range(len(answers)):
            if monotonic() >= end:
                self._loop.call_soon(self._settle_all)
                return
            self._settle(*answers.popleft())

    def _settle(self, answered: Answered, error: KafkaError | None, offset: int | None) -> None:
        if self._on_way.pop(answered, self) is None:  # Else the client was closed, or has given the record up.
            answered(error, offset)

    def end(self, why: str) -> None:
        """Take no more records; what is on its way is answered within some seconds, as after a fatal error."""
        self._fail(KafkaError(KafkaError._STATE, why), "is of no use any more")

    def _fail(self, error: KafkaError, what: str = "has failed for good") -> None:
        """Send nothing more, and have the poller answer what is on its way."""
        if self._over.is_set():
            return
        logger.error(
            "the Kafka client %s, another takes its place: %s; records on their way, sent again where they were not"
            " acknowledged: %d",
            what, error.str(), len(self._on_way),
        )  # fmt: skip
        self.failed = error
        self._producer = None
        self._over.set()

    def _give_up(self) -> None:
        """Answer for the records that the failed producer leaves unanswered."""
        for answered in list(self._on_way):
            self._settle(answered, self.failed, None)

    # -- the poller's thread ------------------------------------------------------------------------------------------

    def _poll(self, producer: Producer, silence: Silence) -> None:
        while not self._over.is_set():
            if self._poll_once(producer) or not len(producer):
                silence.over()
            elif silence.is_long(self._complained) and (end := end_without_brokers(producer)) is not None:
                self._tell(partial(self._fail, end))
        if self.failed:
            self._drain(producer)
            self._tell(self._give_up)

    def _note(self, error: KafkaError) -> None:
        """Take in an error that no record has met. The client calls it within a poll."""
        self._complained = monotonic()
        logger.warning("Kafka client: %s", error)

    def _poll_once(self, producer: Producer) -> int:
        """Serve what has happened. Returns how much that was.

        Whatever is raised, the thread must live: nobody else brings the reports.
        """
        try:
            return producer.poll(_POLL)
        except Exception as raised:
            fatal = _fatal(raised)
            if fatal is not None:
                self._tell(lambda: self._fail(fatal))
            else:
                logger.exception("the Kafka client has raised something unexpected, and goes on")
            self._over.wait(_POLL)
            return 0

    def _drain(self, producer: Producer) -> None:
        """Bring the answers that still come, each of which spares a duplicate; then give the rest up."""
        for last in (False, True):
            if last:
                producer.purge()
            enough = monotonic() + _PATIENCE
            while len(producer) and monotonic() < enough:
                self._poll_once(producer)

    def _bring(self, answered: Answered, error: KafkaError | None, offset: int | None) -> None:
        """Hand an answer to the loop, which is told once of all that it has not seen."""
        self._answers.append((answered, error, offset))
        if not self._told:
            self._told = True
            self._tell(self._settle_all)

    def _tell(self, what: Callable[[], object]) -> None:
        """Have the loop do something; nobody waits for it where the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            self._over.set()


def _fatal(raised: Exception) -> KafkaError | None:
    """The error that is the end of an idempotent client; None for what it outlives."""
    error = kafka_error(raised)
    # `produce` calls it another way than `poll`.
    return error if error.fatal() or error.code() == KafkaError._FATAL else None
