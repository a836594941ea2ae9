"""The Kafka client under the producers: buffers, sends, and hands reports to handles."""

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

from confluent_kafka import KafkaError, KafkaException, Producer

from producers.chatter import is_worth_reading
from producers.cluster import ClientConfig
from producers.errors import DeliveryPending, OptionInvalid, PayloadTooLarge, ProducerBroken, ProducerClosed
from producers.failures import Failures
from producers.handle import Handle
from producers.record import JobRecord

_LOGGER = logging.getLogger("producers")
_LIBRDKAFKA = _LOGGER.getChild("librdkafka")
_LIBRDKAFKA.addFilter(is_worth_reading)
_POLL_EVERY = 64  # jobs: rarely enough to cost nothing, often enough that reports do not pile up
_SECONDS_AT_EXIT = 10.0


class Client:
    """A Kafka client that starts with the first job, once more in a forked process, and never when it is made.

    Any thread may call any method. Reports reach their handles within poll(), so also within offer(), wait(), flush().
    """

    _all: ClassVar["weakref.WeakSet[Client]"] = weakref.WeakSet()

    def __init__(self, config: ClientConfig) -> None:
        """Take librdkafka's configuration; see options.client_config()."""
        self.failures = Failures()
        self.offered = 0  # jobs, of which some may still be in the buffer
        self._config = config
        self._starting = threading.Lock()
        self._polling = threading.Lock()
        self._producer: Producer | None = None
        self._produce: Callable[..., None] = self._start_and_produce
        self._poll: Callable[[float], int] = _poll_nothing
        self._at_exit: weakref.finalize[Any, Any] | None = None
        self._all.add(self)

    def offer(self, record: JobRecord, handle: Handle) -> bool:
        """Put a job into the buffer and return True; return False at once when the buffer is full.

        Raises PayloadTooLarge, ProducerClosed and ProducerBroken.
        """
        topic, key, value, headers, _ = record
        try:
            self._produce(topic, value, key, -1, handle._report, None, 0, headers)
        except BufferError:
            return False
        except KafkaException as raised:
            raise self._refusal(record, raised.args[0]) from raised
        self.offered += 1
        if not self.offered % _POLL_EVERY:
            self._poll(0)
        return True

    def poll(self, seconds: float) -> int:
        """Hand out reports, waiting up to `seconds` for the first, and return how many there were."""
        return self._poll(seconds)

    def pending(self) -> int:
        """Return how many jobs have no outcome yet."""
        return 0 if self._producer is None else len(self._producer)

    def wait(self, happened: Callable[[], bool], timeout: float | None, what: str) -> None:
        """Block until something has happened through a report; raises DeliveryPending after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not happened():
            # One thread polls for all that wait. A publisher's poll may take any report, so nobody waits for long.
            if self._polling.acquire(timeout=0.01):
                try:
                    if not happened():
                        self._poll(0.01)
                finally:
                    self._polling.release()
            if deadline is not None and time.monotonic() >= deadline and not happened():
                raise DeliveryPending(f"{what}: no outcome within {timeout} s; delivery goes on")

    def flush(self, timeout: float | None = None) -> None:
        """Block until every job has its outcome; raises DeliveryPending after `timeout` seconds."""
        producer = self._producer
        if producer is None:
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        # In slices, so that Ctrl-C gets through.
        while producer.flush(0.2 if deadline is None else min(0.2, max(0.0, deadline - time.monotonic()))):
            if deadline is not None and time.monotonic() >= deadline:
                raise DeliveryPending(f"{len(producer):,} jobs: no outcome within {timeout} s; delivery goes on")

    def closed(self) -> bool:
        """Return whether no more jobs are taken."""
        return self._produce is _refuse_closed

    def close(self) -> None:
        """Take no more jobs; those in the buffer are still delivered. Called once flushed."""
        with self._starting:
            self._produce = _refuse_closed
            if self._at_exit is not None and not self.pending():
                self._at_exit.detach()

    def _start_and_produce(self, *arguments: Any) -> None:
        with self._starting:
            if self._producer is None:
                self._start()
        self._produce(*arguments)

    def _start(self) -> None:
        try:
            self._producer = Producer(self._config, logger=_LIBRDKAFKA)
        except KafkaException as raised:
            raise OptionInvalid("the Kafka client", f"usable settings ({raised.args[0].str()})", "these") from raised
        self._produce = self._producer.produce
        self._poll = self._producer.poll
        self._at_exit = weakref.finalize(self, _deliver_the_rest, self._producer)

    def _refusal(self, record: JobRecord, error: KafkaError) -> Exception:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return PayloadTooLarge(record.topic, len(record.value), int(self._config["message.max.bytes"]))
        fatal = "; make a new producer" if error.fatal() else ""
        return ProducerBroken(f"job {record.id} was not sent to {record.topic}: {error.str()}{fatal}")

    def _forget(self) -> None:
        """In a forked child librdkafka's threads are gone: leave the parent's client alone, and start another."""
        if self._producer is not None:
            _OF_PARENTS.append(self._producer)  # Its destructor would wait for threads that do not exist here.
            self._producer, self._poll, self._produce = None, _poll_nothing, self._start_and_produce
        if self._at_exit is not None:
            self._at_exit.detach()
        self._starting, self._polling, self.failures = threading.Lock(), threading.Lock(), Failures()


_OF_PARENTS: list[Producer] = []


def _poll_nothing(_seconds: float) -> int:
    return 0


def _refuse_closed(*_arguments: Any) -> None:
    raise ProducerClosed("this producer is closed: publish within its with block, or make a new one")


def _deliver_the_rest(producer: Producer) -> None:
    """Runs when a client is dropped, or the program ends, before close()."""
    if producer.flush(_SECONDS_AT_EXIT):
        _LOGGER.error(
            "the program ends with %d jobs undelivered: close the producer, or use it in a with block, to learn which",
            len(producer),
        )


def _forget_clients() -> None:
    for client in Client._all:
        client._forget()


os.register_at_fork(after_in_child=_forget_clients)
