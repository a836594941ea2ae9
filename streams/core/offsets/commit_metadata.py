"""The text that a worker commits beside an offset: what its parts look like, and how many characters each may take.

    1AwI=^106,7~1,5!0,2*1@AbCdEfGhIjKlMnOpQrStUv

    1AwI=    the finished-offset map, as finished_map.py encodes it; empty if nothing beyond the watermark is finished
    ^106,7   the fence of a retry log: an offset and a generation of the group; missing in a queue's commits
    ~1       the crash record: 1 if a dead owner is to be suspected, 0 if not
    ,5!0     a job that it names: how far on from the last one named (the first: from the watermark), how it ran, and
             its deaths so far
    @AbCd…   the id of the log's topic (KIP-516), or nothing where the broker gives none

Any part may be missing in what is read. Versions of before end without `@`, or know neither `^` nor `~`. A version that
does not know `@` takes what stands behind `~` for a crash record that it cannot read, and reads the rest: so `~` is
always written. That a text ends in `@` and an id at all tells a commit of a worker from one that somebody else has
made, as `kafka-consumer-groups.sh --reset-offsets` does.

Nothing else knows this text. The OffsetTracker writes it and reads it; `PartitionStart` asks it for the log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from streams.core.offsets.fence import Fence
from streams.core.offsets.log_id import UNKNOWN

#: What a broker accepts as commit metadata by default (`offset.metadata.max.bytes`).
METADATA_LIMIT = 4096

#: Characters that the crash record may take up; jobs that do not fit are left out.
CRASH_RECORD_LIMIT = 512

#: Characters of a fence at the most: two numbers below 2**63, and what divides them.
FENCE_LIMIT = 40

#: Characters of a topic's id: 16 bytes, as Kafka writes them (base64 for URLs, without padding); and the mark.
LOG_LIMIT = 22 + 1

#: Characters that the map may take up: all that the others leave.
MAP_LIMIT = METADATA_LIMIT - CRASH_RECORD_LIMIT - FENCE_LIMIT - LOG_LIMIT

#: How a named job runs, in what its commit says: not at all, beside others, or alone.
IDLE, BESIDE, ALONE = ".", "!", "*"

_CRASHES, _FENCE = "~", "^"

_FENCE_TEXT = re.compile(r"\^(\d{1,19}),(\d{1,18})")
_CRASHES_TEXT = re.compile(r"~([01])((?:,\d{1,18}[.!*]\d)*)")
_NAMED_JOB = re.compile(r",(\d+)([.!*])(\d)")
_SIGNED_TEXT = re.compile(r"(.*)@([A-Za-z0-9_-]{22})?", re.DOTALL)


class NamedJob(NamedTuple):
    """A job that a commit's crash record names."""

    offset: int
    #: IDLE, BESIDE or ALONE.
    runs: str
    #: From 0 to 9.
    deaths: int


class CommitMetadata(NamedTuple):
    """What a commit's metadata says, part by part."""

    #: The finished-offset map, still encoded.
    finished_map: str = ""
    fence: Fence | None = None
    #: Whether the jobs that the owner may have been running are to be suspected: see CrashRecord.
    unreleased: bool = False
    #: By their offsets, in ascending order.
    named: Sequence[NamedJob] = ()
    #: The id of the log; UNKNOWN if it names none.
    log: str = UNKNOWN

    @classmethod
    def read(cls, text: str, watermark: int) -> CommitMetadata:
        """Returns what the text of a commit at this offset says. What cannot be read is as if it were missing; the map
        is not looked into."""
        unsigned, log = _split_log(text)
        rest, _, crashes = unsigned.partition(_CRASHES)
        finished_map, _, fence = rest.partition(_FENCE)
        unreleased, named = _read_crashes(_CRASHES + crashes, watermark)
        return cls(finished_map, _read_fence(_FENCE + fence), unreleased, named, log)

    def text(self, watermark: int) -> str:
        """Returns it as the text of a commit at this offset."""
        crashes = _crashes_text(self.unreleased, self.named, watermark)
        return f"{self.finished_map}{_fence_text(self.fence)}{crashes}@{self.log}"

    def short_text(self) -> str:
        """Returns the fence and the log's id alone, as text: less than a hundred characters."""
        return f"{_fence_text(self.fence)}{_CRASHES}0@{self.log}"


def log_of(text: str) -> str:
    """Returns the id of the log that a commit is of; UNKNOWN if its text names none."""
    return _split_log(text)[1]


def _split_log(text: str) -> tuple[str, str]:
    """Returns a text without its end, and the id there."""
    found = _SIGNED_TEXT.fullmatch(text)
    return (text, UNKNOWN) if found is None else (found[1], found[2] or UNKNOWN)


def _fence_text(fence: Fence | None) -> str:
    return "" if fence is None else f"{_FENCE}{fence.offset},{fence.generation}"


def _read_fence(text: str) -> Fence | None:
    found = _FENCE_TEXT.fullmatch(text)
    return None if found is None else Fence(int(found[1]), int(found[2]))


def _read_crashes(text: str, watermark: int) -> tuple[bool, list[NamedJob]]:
    found = _CRASHES_TEXT.fullmatch(text)
    if found is None:
        return False, []
    named, offset = [], watermark
    for step, runs, deaths in _NAMED_JOB.findall(found[2]):
        offset += int(step)
        named.append(NamedJob(offset, runs, int(deaths)))
    return found[1] == "1", named


def _crashes_text(unreleased: bool, named: Iterable[NamedJob], watermark: int) -> str:
    text, last = f"{_CRASHES}{int(unreleased)}", watermark
    for job in named:
        item = f",{job.offset - last}{job.runs}{job.deaths}"
        if len(text) + len(item) > CRASH_RECORD_LIMIT:
            break
        text += item
        last = job.offset
    return text
