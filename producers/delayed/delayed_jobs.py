"""Finds, lists, cancels and reschedules delayed jobs: each change is one record, and holds whoever is away."""

import time
from collections.abc import Sequence
from datetime import datetime

from confluent_kafka import KafkaError, KafkaException, Producer

from producers.delayed.due import due_ms
from producers.delayed.log import DelayedLog
from producers.delayed.waiting_job import WaitingJob
from producers.delivery.client_config import client_config
from producers.delivery.delivery_errors import failure_of
from producers.errors import NotWaiting, OptionInvalid
from producers.publish_options import PublishOptions, Seconds
from producers.routing.key_placement import partition_of
from producers.settings import ProducerSettings
from schemas.headers import command_key, is_delayed_id, reschedule


class DelayedJobs:
    """Delayed jobs of a namespace, read from Kafka and changed there. Calls block: from an event loop, make them in a
    thread. Any number of threads may share one.

    A change that comes as the job falls due may come too late: then the job runs as it would have.
    """

    def __init__(self, settings: ProducerSettings | None = None, *, patience: float = 10.0) -> None:
        """Read the environment where no settings are given.

        patience  seconds without an answer of a broker after which a call raises
        """
        self._settings = ProducerSettings() if settings is None else settings
        self._patience = patience
        self._log = DelayedLog(self._settings, patience)

    def find(self, job_id: str) -> WaitingJob:
        """Return the job of an id. Raises NotWaiting, and DelayedJobsUnreachable."""
        return self._find(job_id)[0]

    def list(
        self, *, queue: str | None = None, before: datetime | None = None, most: int | None = None
    ) -> Sequence[WaitingJob]:
        """Return the jobs that wait, the next first: all of them, or of a queue, or due before a time, at most so many.

        Reads the whole topic. Raises DelayedJobsUnreachable, and OptionInvalid for a time without a zone.
        """
        limit = None if before is None else due_ms({"run_at": before}, _now_ms())
        found = [
            job
            for job in self._log.waiting().values()
            if queue in {None, job.queue} and (limit is None or job.due_ms < limit)
        ]
        return sorted(found, key=lambda job: (job.due_ms, job.id))[:most]

    def cancel(self, job_id: str) -> WaitingJob:
        """Have a job not run; return it. Raises NotWaiting, DelayedJobsUnreachable and DeliveryFailed."""
        job, partition = self._find(job_id)
        self._write(job_id, partition, str.encode(job_id), None, [])
        return job

    def reschedule(self, job_id: str, *, delay: Seconds | None = None, run_at: datetime | None = None) -> WaitingJob:
        """Have a job fall due after a delay from now, or at a time; return it, as it is then.

        Raises NotWaiting, OptionInvalid, DelayedJobsUnreachable and DeliveryFailed.
        """
        options: PublishOptions = {"delay": delay, "run_at": run_at}
        due = due_ms(options, _now_ms())
        if due is None:
            raise OptionInvalid("delay", "a delay, or run_at, which says when the job falls due", None)
        job, partition = self._find(job_id)
        key = str.encode(job_id)
        self._write(job_id, partition, command_key(key), b"", reschedule(due))
        return job.due_at(due)

    def run_now(self, job_id: str) -> WaitingJob:
        """Have a job fall due at once; return it. Raises as `reschedule` does."""
        return self.reschedule(job_id, delay=0)

    def _find(self, job_id: str) -> tuple[WaitingJob, int]:
        """Return a job, and the partition where it waits."""
        if not isinstance(job_id, str) or not is_delayed_id(key := str.encode(job_id, errors="replace")):
            raise OptionInvalid("id", "the id of a delayed job", job_id)
        count = self._log.partitions()
        likely = partition_of(key, count)
        # The topic may have been given more partitions since it was published.
        for partition in sorted(range(count), key=lambda number: number != likely):
            found = self._log.waiting([partition], key).get(key)
            if found is not None:
                return found, partition
        raise NotWaiting(job_id)

    def _write(
        self, job_id: str, partition: int, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> None:
        """Write a record, and wait until the broker has it."""
        answers: list[KafkaError | None] = []
        topic = self._log.topic
        try:
            producer = Producer(client_config(self._settings, {}))
            producer.produce(
                topic, value, key, partition, lambda error, _message: answers.append(error), headers=[*headers]
            )
            producer.flush(self._settings.delivery_timeout_ms / 1000 + self._patience)
        except KafkaException as raised:
            answers.append(raised.args[0])
        error = answers[0] if answers else KafkaError(KafkaError._MSG_TIMED_OUT)
        if error is not None:
            raise failure_of(job_id, topic, error, None)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
