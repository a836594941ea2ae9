"""Reads what waits from the topic of delayed jobs, as it is now, without any server."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from producers.delayed.entries import Ended, Rescheduled, Waiting, read_entry
from producers.delayed.waiting_job import WaitingJob
from producers.errors import DelayedJobsUnreachable
from producers.routing.topics import scheduled_topic
from producers.settings import ProducerSettings
from schemas.headers import CE_TYPE, DelayedJob, Headers

_MOST = 1000
_REQUEST = 5.0


class DelayedLog:
    """The topic of delayed jobs, as anybody can read it. Calls block; each reads a partition from its start.

    patience  seconds without an answer of the broker after which DelayedJobsUnreachable is raised
    """

    def __init__(self, settings: ProducerSettings, patience: float = 10.0) -> None:
        self._settings = settings
        self._patience = patience
        self.topic = scheduled_topic(settings.namespace)

    def partitions(self) -> int:
        """How many partitions the topic has."""
        with self._consumer() as consumer:
            return len(self._numbers(consumer))

    def waiting(self, partitions: Iterable[int] | None = None, only: bytes | None = None) -> dict[bytes, WaitingJob]:
        """The jobs that wait in some partitions, or in all, by their ids.

        only  an id: nothing else is looked at
        """
        found: dict[bytes, WaitingJob] = {}
        with self._consumer() as consumer:
            numbers = self._numbers(consumer) if partitions is None else [*partitions]
            for message in self._messages(consumer, numbers):
                self._take(message, found, only)
        return found

    def _take(self, message: Any, found: dict[bytes, WaitingJob], only: bytes | None) -> None:
        entry = read_entry(message.key() or b"", message.value(), _headers(message), self._settings.namespace)
        if isinstance(entry, Waiting):
            if only is None or entry.job.id == only:
                found[entry.job.id] = _waiting(entry.job, _headers(message) or ())
        elif isinstance(entry, Rescheduled):
            if entry.id in found:
                found[entry.id] = found[entry.id].due_at(entry.due_ms)
        elif isinstance(entry, Ended):
            found.pop(entry.id, None)

    def _messages(self, consumer: Consumer, partitions: Iterable[int]) -> Iterator[Any]:
        unread = set(partitions)
        consumer.assign([TopicPartition(self.topic, number, 0) for number in unread])
        give_up = time.monotonic() + self._patience
        while unread:
            messages = consumer.consume(_MOST, 0.2)
            if messages:
                give_up = time.monotonic() + self._patience
            elif time.monotonic() > give_up:
                raise self._unreachable("no broker answers")
            for message in messages:
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())

    def _numbers(self, consumer: Consumer) -> list[int]:
        try:
            found = consumer.list_topics(self.topic, timeout=_REQUEST).topics[self.topic]
        except KafkaException as error:
            raise self._unreachable(error.args[0].str()) from error
        if found.error is not None:
            raise self._unreachable(f"{found.error.str()}; any worker of the namespace creates it when it starts")
        return sorted(found.partitions)

    def _unreachable(self, cause: str) -> DelayedJobsUnreachable:
        return DelayedJobsUnreachable(self.topic, cause, self._settings.bootstrap_servers)

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        consumer = Consumer(
            {
                **self._settings.client_config(),
                "group.id": "delayed-jobs",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                "error_cb": lambda error: None,
                "log_level": 2,
            }
        )
        try:
            yield consumer
        finally:
            consumer.close()


def _headers(message: Any) -> Headers | None:
    try:
        return tuple(message.headers() or ())
    except UnicodeDecodeError:
        return None


def _waiting(job: DelayedJob, headers: Headers) -> WaitingJob:
    job_type = dict(headers).get(CE_TYPE) or b""
    key = None if job.key is None else job.key.decode("utf-8", "backslashreplace")
    return WaitingJob(job.id.decode(), job.queue, job_type.decode("utf-8", "replace"), key, job.due_ms)
