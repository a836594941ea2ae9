"""What a redrive or a purge will do, before it does anything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from schemas.headers import Origin
from streams.dead.errors import MapFull
from streams.dead.handled.notes import GroupCommit
from streams.dead.handled.offsets import Handled
from streams.dead.letter import Letter


@dataclass(frozen=True, slots=True)
class Skipped:
    """A letter that was meant and stays where it is, and why."""

    place: Origin
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """The letters of one partition."""

    partition: int
    #: In the order in which to deal with them.
    offsets: tuple[int, ...]
    #: The notes as they were read.
    commit: GroupCommit
    handled: Handled
    #: The first offset that the log still holds.
    start: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The letters that are meant, by partition."""

    parts: tuple[Part, ...]
    skipped: tuple[Skipped, ...] = ()
    #: Jobs that have expired by then (epoch milliseconds) are sent, too, without their expiry; None: they are skipped.
    reviving: int | None = None

    @property
    def count(self) -> int:
        """How many letters there are to deal with."""
        return sum(len(part.offsets) for part in self.parts)

    def revives(self, letter: Letter) -> bool:
        """Whether a letter's job is sent although it has expired."""
        return self.reviving is not None and letter.expires_at is not None and letter.expires_at <= self.reviving

    @property
    def reasons(self) -> dict[str, int]:
        """How many letters are skipped for which reason."""
        return dict(Counter(each.reason for each in self.skipped))


def map_full(topic: str, partition: int, handled: Handled) -> MapFull:
    """Returns the error for notes that do not fit into a commit, which says what to do."""
    return MapFull(
        f"the letters to deal with in partition {partition} of {topic!r} lie too scattered among others: their map"
        " would not fit into a commit's metadata (4,096 bytes). Deal with the oldest letters first, whatever they are:"
        f" redrive or purge all from offset {handled.watermark:,} on, with --partition {partition} and --until or"
        " --limit; or choose fewer at a time"
    )
