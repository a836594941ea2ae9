"""What the topics of a chaos run hold of its jobs: dead letters, and jobs that were sent back."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence

from tests.chaos.account import Letters
from tests.chaos.plan import numbered
from tests.ledger import SECOND
from tests.topics import Record, read_all


def redrives(record: Record) -> int:
    """How often the job of a record was sent back."""
    return int(record.header("job-redrives") or 0)


def identity(record: Record) -> str:
    """The id of a record's job, by how often it was sent back."""
    return numbered(record.header("ce_id") or "", redrives(record))


def at(record: Record) -> int:
    """When a record was written, by CLOCK_MONOTONIC, in nanoseconds."""
    return record.timestamp * (SECOND // 1000) - time.time_ns() + time.monotonic_ns()


class DeadLetters:
    """All dead letters that were ever seen: a purge deletes them."""

    def __init__(self, bootstrap: str, namespace: str, queues: Sequence[str]) -> None:
        self._bootstrap = bootstrap
        self._namespace = namespace
        self._queues = queues
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, int, int], Record] = {}

    def look(self, queue: str) -> list[Record]:
        """Those that a queue has now."""
        found = read_all(self._bootstrap, f"{self._namespace}.{queue}.dead")
        with self._lock:
            self._seen.update({(queue, each.partition, each.offset): each for each in found})
        return found

    def all(self) -> dict[str, Letters]:
        """Those of all queues, by their jobs."""
        for queue in self._queues:
            self.look(queue)
        errors: dict[str, list[str]] = defaultdict(list)
        for _, letter in sorted(self._seen.items(), key=lambda item: item[0]):
            errors[identity(letter)].append(letter.header("job-error-type") or "")
        return {job: Letters(tuple(types)) for job, types in errors.items()}
