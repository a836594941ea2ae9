"""What tells an owner's records in a retry log from those that an earlier owner has written too late.

A worker that was cut off from its group (frozen, or behind a broken network) may still have records on their way to the
retry log of a partition that has another owner by now. That one does not see them, and the owner after it would take
them for jobs that wait. So every record says in which generation of the group its writer got the partition, and every
owner commits where the log ended when it took over: from there on only records of its own generation, or of a later
one, count.
"""

from __future__ import annotations

from typing import NamedTuple


class Fence(NamedTuple):
    """A bound of a retry log: from `offset` on only records of this generation or a later one count."""

    offset: int
    generation: int

    def passes(self, offset: int, generation: int | None) -> bool:
        """Whether a record counts; one that does not say who wrote it does."""
        return offset < self.offset or generation is None or generation >= self.generation
