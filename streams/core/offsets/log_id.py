"""The id of a log: that of its topic (KIP-516), as a commit's metadata and the records of a retry log name it.

A topic that is deleted and created under the same name is another log with the same offsets. Whoever finds a commit
compares the id with the topic's: a commit of another log says nothing of this one, even where it came later, from a
worker that had not heard of it yet. A commit without an id is of a broker that gives none, or of a version before.
"""

from __future__ import annotations

#: The id of a log whose topic has none, as far as is known.
UNKNOWN = ""


def differ(one: str, other: str) -> bool:
    """Whether two ids are known to be those of two logs."""
    return UNKNOWN not in (one, other) and one != other
