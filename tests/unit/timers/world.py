"""One partition of the topic of delayed jobs, its transactions and its owners, as a model: what a broker would do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from producers.delayed.entries import Ended, Rescheduled, Waiting, read_entry
from schemas.headers import command_key, reschedule, with_delay
from streams.ports.records import OutgoingRecord
from streams.ports.timers import TimerChunk, TimerRecord, TransactionFailed
from streams.timers.owner import PartitionOwner
from streams.timers.partition import PartitionTimers
from streams.timers.store import TimerStore

NAMESPACE = "ns"

#: Where files cost nothing; None where the system has no such place.
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
TOPIC = "ns.scheduled"


@dataclass
class Cluster:
    """What the broker holds: the log, with what is compacted away left out, and which jobs went to their queue."""

    log: list[TimerRecord] = field(default_factory=list)
    end: int = 0
    epoch: int = 0
    now: int = 1_000_000
    #: By the id of each job that went to its queue: the offset of its tombstone, and when it was.
    went: dict[bytes, list[tuple[int, int]]] = field(default_factory=dict)
    #: By id: offsets of its publications; of its cancellations.
    published: dict[bytes, list[int]] = field(default_factory=dict)
    cancelled: dict[bytes, list[int]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    #: All that transactions have written.
    written: list[OutgoingRecord] = field(default_factory=list)

    def append(self, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> int:
        self.log.append(TimerRecord(self.end, key, value, tuple(headers)))
        self.end += 1
        return self.end - 1

    def publish(self, job_id: bytes, delay: int) -> None:
        headers = with_delay([("ce_id", job_id)], queue="q", key=None, due_ms=self.now + delay)
        self.published.setdefault(job_id, []).append(self.append(job_id, b"value", headers))

    def cancel(self, job_id: bytes) -> None:
        self.cancelled.setdefault(job_id, []).append(self.append(job_id, None, ()))

    def reschedule(self, job_id: bytes, delay: int) -> None:
        self.append(command_key(job_id), b"", reschedule(self.now + delay))

    def compact(self, tombstones: bool) -> None:
        """Keep the last record of each key; with their time over, no tombstones either."""
        last = {record.key: record.offset for record in self.log}
        kept = [record for record in self.log if last[record.key] == record.offset]
        self.log = [record for record in kept if record.value is not None or not tombstones]

    def commit(self, records: Sequence[OutgoingRecord]) -> int:
        """End a transaction: all its records are there, and a job goes with each tombstone that says so.

        Returns the last one's offset.
        """
        self.written += records
        jobs = [record for record in records if record.topic not in {TOPIC, f"{TOPIC}.dead"}]
        fired: list[bytes] = []
        for record in records:
            if record.topic == TOPIC:
                offset = self.append(record.key or b"", record.value, record.headers)
                job = record.key or b""
                if record.value is None and not job.startswith(b"command/") and len(fired) < len(jobs):
                    fired.append(job)
                    self._note_gone(job, offset)
        if len(fired) != len(jobs):
            self.faults.append(f"{len(jobs)} jobs went with {len(fired)} tombstones")
        return self.end - 1

    def _note_gone(self, job: bytes, tombstone: int) -> None:
        earlier = self.went.setdefault(job, [])
        since = earlier[-1][0] if earlier else -1
        if not any(since < at < tombstone for at in self.published.get(job, [])):
            self.faults.append(f"{job!r} went twice, at {since} and {tombstone}")
        earlier.append((tombstone, self.now))

    def state(self, upto: int | None = None) -> dict[bytes, int]:
        """What waits, and when it is due, by all records of the log below an offset."""
        found: dict[bytes, int] = {}
        for record in self.log:
            if upto is not None and record.offset >= upto:
                break
            entry = read_entry(record.key or b"", record.value, record.headers, NAMESPACE)
            if isinstance(entry, Waiting):
                found[entry.job.id] = entry.job.due_ms
            elif isinstance(entry, Rescheduled) and entry.id in found:
                found[entry.id] = entry.due_ms
            elif isinstance(entry, Ended):
                found.pop(entry.id, None)
        return found


class Fate:
    """What becomes of the next commit, as a test wishes."""

    GOOD, REFUSED, DIES_BEFORE, DIES_AFTER = "good", "fails", "dies before it", "dies after it"


class Died(Exception):
    """The owner's process is killed here."""


class ModelTransactions:
    """Transactions of one owner with a Cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._epoch = -1
        self.fate = Fate.GOOD

    def begin(self, partition: int) -> None:
        self._cluster.epoch += 1
        self._epoch = self._cluster.epoch

    def commit(self, partition: int, records: Sequence[OutgoingRecord]) -> int | None:
        fate, self.fate = self.fate, Fate.GOOD
        if fate == Fate.DIES_BEFORE:
            raise Died
        if self._is_fenced() or fate == Fate.REFUSED:
            raise TransactionFailed("fenced, or the broker is away")
        last = self._cluster.commit(records)
        if fate == Fate.DIES_AFTER:
            raise Died
        return last

    def _is_fenced(self) -> bool:
        return self._epoch != self._cluster.epoch

    def end(self, partition: int) -> None:
        pass


class Owner:
    """A worker's process that has the partition, or believes so."""

    def __init__(self, cluster: Cluster, file: Path | None, mark: bytes, *, transactions: ModelTransactions) -> None:
        self.cluster = cluster
        self.file = file or Path(mkdtemp(prefix="timers-", dir=_MEMORY)) / "store"
        self.transactions = transactions
        self.store = TimerStore(self.file)
        self.timers = PartitionTimers(0, self.store, namespace=NAMESPACE, mark=mark)
        self.owner = PartitionOwner(self.timers, transactions, lambda partition: cluster.end, lambda: cluster.now)

    def read(self, most: int) -> None:
        """Read on, so many records at the most."""
        position = self.timers.position
        records = [record for record in self.cluster.log if record.offset >= position][:most]
        more = records and records[-1].offset < self.cluster.end - 1
        self.owner.take(TimerChunk(0, records, None if more else self.cluster.end))

    def die(self) -> None:
        self.store.close()
