"""What tells an owner's records in a retry log from those that an earlier owner has written too late.

A worker that was cut off from its group (frozen, or behind a broken network) may still have records on their way to the
retry log of a partition that has another owner by now. That one does not see them, and the owner after it would take
them for jobs that wait. So every record says in which generation of the group its writer got the partition, and every
owner commits where the log ended when it took over: from there on only records of its own generation, or of a later
one, count.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: Opens what a commit's metadata says of it.
MARK = "^"

#: Characters that this takes up at the most: two numbers below 2**63, and what divides them.
FENCE_LIMIT = 40

_TEXT = re.compile(r"\^(\d{1,19}),(\d{1,18})")


class Fence(NamedTuple):
    """From `offset` on only records of this generation or a later one count."""

    offset: int
    generation: int

    @classmethod
    def read(cls, text: str) -> Fence | None:
        """The fence that a commit's metadata tells of; None if it tells of none."""
        found = _TEXT.fullmatch(text)
        return None if found is None else cls(int(found[1]), int(found[2]))

    @property
    def text(self) -> str:
        """It, for a commit's metadata."""
        return f"{MARK}{self.offset},{self.generation}"

    def passes(self, offset: int, generation: int | None) -> bool:
        """Whether a record counts; one that does not say who wrote it does."""
        return offset < self.offset or generation is None or generation >= self.generation
