"""Which log a commit is of: the id of its topic (KIP-516), at the end of the commit's metadata.

A topic that is deleted and created under the same name is another log with the same offsets. Whoever finds a commit
compares the id with the topic's: a commit of another log says nothing of this one, even where it came later, from a
worker that had not heard of it yet. A commit without an id is of a broker that gives none, or of a version before.

That a commit ends in the mark at all tells one of a worker from one that somebody else has made, as
`kafka-consumer-groups.sh --reset-offsets` does. A version before takes what stands behind `~` for a crash record that
it cannot read, and reads the rest.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from streams.core.offsets import crash_record

#: Opens what a commit's metadata says of it.
MARK = "@"

#: Characters of a topic's id: 16 bytes, as Kafka writes them (base64 for URLs, without padding).
_ID = 22

#: Characters that this takes up at the most.
LOG_LIMIT = len(MARK) + _ID

#: The id of a log whose topic has none, as far as is known.
UNKNOWN = ""

_TEXT = re.compile(r"(.*)@([A-Za-z0-9_-]{22})?", re.DOTALL)


class Signed(NamedTuple):
    """A commit's metadata without its end, and what that says."""

    rest: str
    #: UNKNOWN if it names none.
    log: str
    #: Whether a worker of this version has made it.
    ours: bool


def read(metadata: str) -> Signed:
    """Take the id off a commit's metadata."""
    found = _TEXT.fullmatch(metadata)
    return Signed(metadata, UNKNOWN, ours=False) if found is None else Signed(found[1], found[2] or UNKNOWN, ours=True)


def sign(metadata: str, log: str) -> str:
    """Put the id of a log at the end of a commit's metadata."""
    readable = "" if crash_record.MARK in metadata else f"{crash_record.MARK}0"
    return f"{metadata}{readable}{MARK}{log}"


def differ(one: str, other: str) -> bool:
    """Whether two ids are known to be those of two logs."""
    return UNKNOWN not in (one, other) and one != other
