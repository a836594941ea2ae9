"""The Kafka client under the producers: buffers, sends, and hands reports to handles."""

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.cluster import ClientConfig
from producers.delivery.client_errors import ClientErrors
from producers.delivery.delivery_errors import is_of_the_topic
from producers.delivery.lost_brokers import Silence, end_without_brokers
from producers.delivery.unobserved_failures import UnobservedFailures
from producers.errors import DeliveryPending, OptionInvalid, PayloadTooLarge, ProducerBroken, ProducerClosed
from producers.record import JobRecord

_LOGGER = logging.getLogger("producers")
_POLL_EVERY = 64  # jobs: rarely enough to cost nothing, often enough that reports do not pile up
_SECONDS_AT_EXIT = 10.0
_PATIENCE = 1.0  # seconds that a failed client is given for its answers, and again to give up what is left


class ReportTaker(Protocol):
    """A job's handle, as far as its client knows it: what is told how delivery has ended."""

    id: str

    def _report(self, error: KafkaError | None, message: Message | None) -> None: ...
    def _settled(self) -> bool: ...
    def _lose(self) -> None: ...


class KafkaClient:
    """A Kafka client that starts with the first job, once more in a forked process, and never when it is made.

    Any thread may call any method. Reports reach their handles within poll(), so also within offer(), wait(), flush().
    An idempotent client that has met a fatal error never sends again: it is replaced when every job on its way through
    it has its outcome, so that no later job overtakes one of them. So is one that has not got a job through in time
    although the brokers are there: it may have lost sight of a partition's leader for good (librdkafka's issues 4898,
    where a topic was made anew, and 5430). And so is one that knows no broker any more: see lost_brokers.
    """

    _all: ClassVar["weakref.WeakSet[KafkaClient]"] = weakref.WeakSet()

    def __init__(self, config: ClientConfig) -> None:
        """Take librdkafka's configuration; see client_config.client_config()."""
        self._config = config
        self._closed = False
        self._set_out()
        self._all.add(self)

    def _set_out(self) -> None:
        self.failures = UnobservedFailures()
        self.errors = ClientErrors(str(self._config["bootstrap.servers"]))
        self.offered = 0  # jobs, of which some may still be in the buffer
        self.is_looked_after = False  # whether a thread hands out reports while nobody else does; see producer
        self._silence = Silence(self._config)
        self.awaited = threading.Lock()  # held by those who begin, or cease, to wait for a report on an event loop
        # Whoever is interrupted here, by a signal or the collector, may come back here within the interruption.
        self._switching = threading.RLock()
        self._polling = threading.Lock()
        self._producer: Producer | None = None
        self._produce: Callable[..., None] = _refuse_closed if self._closed else self._start_and_produce
        self._poll: Callable[[float], int] = _poll_nothing
        self._gives_up_at = 0.0  # when a failed client gives up what it has no answer for

    def offer(self, record: JobRecord, handle: ReportTaker) -> bool:
        """Put a job into the buffer and return True; return False at once when there is no room in it for now.

        Raises PayloadTooLarge, ProducerClosed and ProducerBroken. A job whose topic is known to take none has failed.
        """
        topic, key, value, headers, _ = record
        try:
            self._produce(topic, value, key, -1, handle._report, None, 0, headers)
        except BufferError:
            return False
        except KafkaException as raised:
            return self._refused(record, handle, raised)
        self.offered += 1
        if not self.offered % _POLL_EVERY:
            self.poll(0)
        return True

    def poll(self, seconds: float) -> int:
        """Hand out reports, waiting up to `seconds` for the first, and return how many there were."""
        served = self._serve(self._poll, seconds)
        if self.errors.fatal is not None:
            self._replace()
        elif served or not self.pending():
            self._silence.over()
        elif self._silence.is_long(self.errors.complained):
            self._look_for_brokers()
        return served

    def _look_for_brokers(self) -> None:
        """Have a client end that knows no broker any more; in a thread, since whoever polls is not to be held up."""
        producer, errors = self._producer, self.errors

        def look() -> None:
            end = end_without_brokers(producer) if producer is not None else None
            if end is not None:
                errors.end(end)

        with suppress(RuntimeError):  # No thread is to be had; it is looked again.
            threading.Thread(target=look, name="kafka-jobs-brokers", daemon=True).start()

    def _serve(self, call: Callable[[float], int], seconds: float) -> int:
        """Let the client hand out reports; an error that has ended it comes out of that, too."""
        try:
            return call(seconds)
        except KafkaException as raised:
            if not self._note_fatal(raised):
                raise
            return self.pending()

    def pending(self) -> int:
        """Return how many jobs have no outcome yet."""
        producer = self._producer
        return 0 if producer is None else len(producer)

    def wait(self, handle: ReportTaker, timeout: float | None) -> None:
        """Block until a job has its outcome; raises DeliveryPending after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not handle._settled():
            if not self.pending():
                handle._lose()  # Unless another thread settles it just now: then nothing is lost.
                return
            self._poll_in_turn()
            if deadline is not None and time.monotonic() >= deadline and not handle._settled():
                raise self.still_pending(f"job {handle.id}", timeout)

    def _poll_in_turn(self) -> None:
        """Poll once; one thread does so for all that wait, and a publisher's poll may take any report, too."""
        if not self._polling.acquire(timeout=0.01):
            self.poll(0)  # Who holds the lock may be this very thread, further out.
            return
        try:
            self.poll(0.01)
        finally:
            self._polling.release()

    def flush(self, timeout: float | None = None) -> None:
        """Block until every job has its outcome; raises DeliveryPending after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while producer := self._producer:
            # In slices, so that Ctrl-C gets through.
            slice_ = 0.2 if deadline is None else min(0.2, max(0.0, deadline - time.monotonic()))
            left = self._serve(producer.flush, slice_)
            if not left:
                return
            self.poll(0)
            if deadline is not None and time.monotonic() >= deadline:
                raise self.still_pending(f"{left:,} jobs", timeout)

    def still_pending(self, what: str, timeout: float | None) -> DeliveryPending:
        """Return the error for those who wait no longer, which says why nothing is delivered if that is known."""
        reason = self.errors.reason()
        return DeliveryPending(
            f"{what}: no outcome within {timeout} s{f', {reason}' if reason else ''}; delivery goes on"
        )

    def close(self) -> None:
        """Take no more jobs; those in the buffer are still delivered. Called once flushed."""
        with self._switching:
            self._closed = True
            self._produce = _refuse_closed

    def let_go(self) -> bool:
        """Close all connections, and return True, where no more jobs are taken and none is without its outcome.

        Not to be called by who closes: another thread may be about to offer its job.
        """
        if not self._closed or self.pending():
            return False
        with self._switching:
            producer, self._producer, self._poll = self._producer, None, _poll_nothing
        del producer  # Its end waits for its threads, and nobody is to wait for that.
        return True

    # -- one client after the other -----------------------------------------------------------------------------------

    def _start_and_produce(self, *arguments: Any) -> None:
        with self._switching:
            if self._producer is None and not self._closed:
                self._start()
        self._produce(*arguments)

    def _start(self) -> None:
        try:
            producer = Producer(self._config | {"error_cb": self.errors.note}, logger=self.errors)
        except KafkaException as raised:
            raise OptionInvalid("the Kafka client", f"usable settings ({raised.args[0].str()})", "these") from raised
        if self._producer is None:  # Else somebody came in between, in this very thread.
            self._producer = producer
            self._produce, self._poll = producer.produce, producer.poll

    def _refused(self, record: JobRecord, handle: ReportTaker, raised: KafkaException) -> bool:
        if self._note_fatal(raised):
            self.poll(0)
            return False
        error: KafkaError = raised.args[0]
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise PayloadTooLarge(record.topic, len(record.value), int(self._config["message.max.bytes"])) from raised
        if is_of_the_topic(error):
            handle._report(error, None)
            return True
        raise ProducerBroken(f"job {record.id} was not sent to {record.topic}: {error.str()}") from raised

    def _note_fatal(self, raised: KafkaException) -> bool:
        error: KafkaError = raised.args[0]
        if not error.fatal() and error.code() != KafkaError._FATAL:
            return False
        if self.errors.fatal is None or error.code() != KafkaError._FATAL:  # Which says nothing of the cause.
            self.errors.end(error)
        return True

    def look_after(self, *, begun: bool) -> None:
        """Note that a thread hands out reports while nobody else does, or that there was none to be had."""
        self.is_looked_after = begun

    def undelivered(self, error: KafkaError) -> None:
        """Take in why a job was not delivered; one that timed out although the brokers are there ends this client."""
        if error.code() == KafkaError._MSG_TIMED_OUT and self.errors.reason() is None:
            self.errors.end(error)

    def _replace(self) -> None:
        """Let a failed client go, once all of its jobs have their outcome; called again and again until then."""
        with self._switching:
            producer, now = self._producer, time.monotonic()
            if producer is None:
                return
            if not self._gives_up_at:
                self._retire(producer, now)
            elif now >= self._gives_up_at:
                self._let_go(producer, now)

    def _retire(self, producer: Producer, now: float) -> None:
        self._gives_up_at = now + _PATIENCE
        if not self._closed:
            self._produce = _no_room
        _LOGGER.error("%s; %d jobs were on their way, and each of them is told", self.errors.reason(), len(producer))

    def _let_go(self, producer: Producer, now: float) -> None:
        """Give up what is still without an answer, and then the client itself.

        Not before its time is up, though nothing may be left: clients that fail one after the other are not made in a
        rush.
        """
        if len(producer) and now < self._gives_up_at + _PATIENCE:
            with suppress(KafkaException):
                producer.purge(blocking=False)
            return
        self.errors = ClientErrors(str(self._config["bootstrap.servers"]))
        self._gives_up_at, self._producer, self._poll = 0.0, None, _poll_nothing
        if not self._closed:
            self._produce = self._start_and_produce

    # -- the end of the process, and another one ----------------------------------------------------------------------

    def _deliver_the_rest(self, until: float) -> None:
        """Take nothing more and deliver what is in the buffer, since the program ends without close()."""
        self.close()
        if not self.pending():
            return
        with suppress(DeliveryPending):
            self.flush(max(0.0, until - time.monotonic()))
        if left := self.pending():
            reason = self.errors.reason()
            _LOGGER.error(
                "the program ends with %d jobs undelivered%s: close the producer, or use it in a with block, to learn"
                " which",
                left, f" ({reason})" if reason else "",
            )  # fmt: skip

    def _forget(self) -> None:
        """In a forked child librdkafka's threads are gone: leave the parent's client alone, and start another."""
        if self._producer is not None:
            _OF_PARENTS.append(self._producer)  # Its destructor would wait for threads that do not exist here.
        self._set_out()


_OF_PARENTS: list[Producer] = []


def _poll_nothing(seconds: float) -> int:
    time.sleep(seconds)  # There is nothing that could happen before.
    return 0


def _no_room(*_arguments: Any) -> None:
    raise BufferError


def _refuse_closed(*_arguments: Any) -> None:
    raise ProducerClosed(
        "this producer is closed, or the program ends: publish within its with block, or make a new one"
    )


@atexit.register  # Early, so that what the program itself does at its end comes before.
def _deliver_all() -> None:
    until = time.monotonic() + _SECONDS_AT_EXIT
    for client in list(KafkaClient._all):
        client._deliver_the_rest(until)


def _forget_clients() -> None:
    for client in list(KafkaClient._all):
        client._forget()


os.register_at_fork(after_in_child=_forget_clients)
