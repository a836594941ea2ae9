"""A worker that does not guard against jobs that kill it: what the guard costs is the difference."""

from __future__ import annotations

from streams.core.offsets.commit_metadata import NamedJob
from streams.core.offsets.crash_record import CrashRecord, Finished
from streams.core.partition.crashes import PartitionCrashes
from tests.benchmarks.names import UNGUARDED

__all__ = ["UNGUARDED", "without_guard"]


def without_guard() -> None:
    """Have commits say nothing of who holds a partition, and nothing be suspected."""

    def nothing(self: object) -> None:
        """There is nobody to tell."""

    def nobody(self: CrashRecord, log: Finished) -> list[NamedJob]:
        del log
        return []

    PartitionCrashes.claim = PartitionCrashes.release = nothing  # type: ignore[method-assign]
    CrashRecord.named = nobody  # type: ignore[method-assign]
