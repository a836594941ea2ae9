"""Records and histories that the tests of the core share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from streams.core.partition.partition import QueuePartition


@dataclass(frozen=True)
class Job:
    """The least that the core needs of a record."""

    offset: int
    key: bytes | None = None
    value: bytes | None = b""
    headers: tuple[tuple[str, bytes | None], ...] = ()


Jobs = QueuePartition[Job]


def runs_of(finished: Iterable[bool]) -> Iterator[int]:
    """Alternating run lengths, unfinished first, of consecutive offsets; ends with the last finished one."""
    kind, length, runs = False, 0, []
    for each in finished:
        if each != kind:
            runs.append(length)
            kind, length = each, 0
        length += 1
    if kind:
        runs.append(length)
    return iter(runs)
