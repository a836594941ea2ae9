"""Publishes the jobs of a chaos run and remembers them: what was published, where it lies, and what was taken away."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from producers import DeliveryFailed, JobHandle, JobProducer, ProducersError, ProducerSettings
from tests.chaos.account import Published, Span
from tests.chaos.plan import Plan, Planned
from tests.chaos.records import at, identity
from tests.ledger import SECOND
from tests.models.ordered import Step
from tests.topics import Record

#: Seconds in which a delivery succeeds or has failed.
DELIVERY = 150


@dataclass(frozen=True)
class Removal:
    """Records that were taken away on purpose at some time, or were about to be: what it concerns says `gone`."""

    at: int
    queue: str
    gone: Callable[[Published], bool]


#: A topic that is made anew is not there for a while, or lacks partitions. Who is told that has lost nothing.
_LACKS = ("_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC")

#: What a client is said to have met that has not found back to brokers that were away.
_BLIND = "has lost sight of all brokers"


class Publisher:
    """Publishes planned jobs, numbered in each key."""

    def __init__(self, bootstrap: str, namespace: str, debug: str) -> None:
        settings = ProducerSettings(bootstrap_servers=bootstrap, namespace=namespace)
        self._producer = JobProducer(settings, client_options={"debug": debug} if debug else {})
        self._next: Counter[str] = Counter()
        self._logs: Counter[str] = Counter()
        self._renewals: dict[str, list[int]] = defaultdict(list)
        self._lock = threading.Lock()
        self._held: dict[str, list[Planned]] = {}
        self._handles: dict[str, JobHandle] = {}
        self._removals: list[Removal] = []
        self.jobs: dict[str, Published] = {}
        #: When what was published may have been on its way together with a job whose delivery failed.
        self.failures: list[Span] = []

    def publish(self, job: Planned) -> str:
        """Publish a job; returns its id, or nothing if its queue is held: then it is published afterwards."""
        with self._lock:
            if job.queue in self._held:
                self._held[job.queue].append(job)
                return ""
            return self._publish(job)

    def _publish(self, job: Planned) -> str:
        key = job.key or ""
        seq = self._next[key]
        self._next[key] += 1
        headers = {"plan": job.plan.letters} if job.plan.letters else {}
        handle = self._producer.publish(
            Step(seq=seq, seconds=job.seconds), key=job.key, queue=job.queue, headers=headers,
            max_attempts=job.plan.most,
        )  # fmt: skip
        self.jobs[handle.id] = Published(
            handle.id, job.queue, job.key, seq, job.plan, time.monotonic_ns(), log=self._logs[job.queue]
        )
        self._handles[handle.id] = handle
        return handle.id

    @contextmanager
    def held(self, queue: str) -> Iterator[None]:
        """Publish nothing to a queue until the end of the block; what was published before has its outcome."""
        with self._lock:
            self._held[queue] = []
            on_their_way = [self._handles[name] for name, job in self.jobs.items() if job.queue == queue]
        for handle in on_their_way:
            _await(handle)
        try:
            yield
        finally:
            with self._lock:
                for job in self._held.pop(queue):
                    self._publish(job)

    def renew(self, queue: str) -> None:
        """Note that the queue's log, with all that was published so far, is about to be taken away."""
        with self._lock:
            log = self._logs[queue]
            self._logs[queue] += 1
            self._renewals[queue].append(time.monotonic_ns())
        self._removals.append(Removal(time.monotonic_ns(), queue, lambda job: job.queue == queue and job.log <= log))

    def remove(self, queue: str, before: Mapping[int, int]) -> None:
        """Note that what lies in a queue's partitions before some offsets is about to be taken away."""
        log = self._logs[queue]

        def gone(job: Published) -> bool:
            return job.queue == queue and job.log == log and job.offset < before.get(job.partition, 0)

        self._removals.append(Removal(time.monotonic_ns(), queue, gone))

    def redriven(self, queue: str, record: Record) -> Published | None:
        """A job that lies in a queue as sent back; None if it is none of ours."""
        job, written = self.jobs.get(record.header("ce_id") or ""), at(record)
        if job is None:
            return None
        return Published(
            identity(record), queue, job.key, record.offset, Plan(in_pool=job.plan.in_pool), written,
            log=sum(renewed < written for renewed in self._renewals[queue]), partition=record.partition,
            offset=record.offset, redriven=True,
        )  # fmt: skip

    def gone(self, jobs: Mapping[str, Published]) -> dict[str, int]:
        """Since when the records of some jobs may be gone on purpose. Complete when all is delivered."""
        found: dict[str, int] = {}
        for removal in self._removals:
            for name, job in jobs.items():
                if removal.gone(job):
                    found.setdefault(name, removal.at)
        return found

    @property
    def removals(self) -> dict[str, list[int]]:
        """When records of each queue were taken away on purpose."""
        found: dict[str, list[int]] = defaultdict(list)
        for removal in self._removals:
            found[removal.queue].append(removal.at)
        return found

    def flush(self, outages: Sequence[Span]) -> list[str]:
        """Wait for all deliveries, and forget the jobs that were not delivered; what has failed.

        outages  when brokers were away
        """
        with suppress(ProducersError):  # Each handle says what became of its job.
            self._producer.flush(DELIVERY)
        said: list[str] = []
        for job, handle in self._handles.items():
            try:
                place = handle.result(0)
            except (ProducersError, TimeoutError) as failed:
                at = self.jobs.pop(job).at
                self.failures.append(Span(at - DELIVERY * SECOND, at + DELIVERY * SECOND))
                if not (self._lacked(at, failed) or _blind(at, failed, outages)):
                    said.append(str(failed))
            else:
                self.jobs[job] = replace(self.jobs[job], partition=place.partition, offset=place.offset)
        self._handles.clear()
        return [f"{len(said)} jobs were not delivered; the first: {said[0]}"] if said else []

    def _lacked(self, at: int, failed: Exception) -> bool:
        """Whether a job was not delivered, or nobody knows, for its topic or another was made anew meanwhile.

        A client may lose sight of such a topic until its deliveries time out, and then all on their way are told.
        """
        if self._removals and any(lack in str(failed) for lack in _LACKS):
            return True
        unsure = isinstance(failed, DeliveryFailed) and failed.may_be_written
        renewals = [each for of_queue in self._renewals.values() for each in of_queue]
        return unsure and any(abs(each - at) <= DELIVERY * SECOND for each in renewals)

    def close(self) -> None:
        """Stop. What was delivered has been said by then, or the run has ended in an error of its own."""
        with suppress(ProducersError):
            self._producer.close(10)


def _blind(at: int, failed: Exception, outages: Iterable[Span]) -> bool:
    """Whether a job was on its way when its client did not find back to brokers that had been away."""
    near = DELIVERY * SECOND
    return _BLIND in str(failed) and any(each.begin - near <= at <= each.end + near for each in outages)


def _await(handle: JobHandle) -> None:
    try:
        handle.result(DELIVERY)
    except (ProducersError, TimeoutError):
        """It is forgotten in the end."""
