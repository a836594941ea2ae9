"""Which offsets of a partition are handled: a watermark, and ranges beyond it, as a worker's commit holds them.

A worker's tracker admits offsets by what could become of them at worst. Here all is known beforehand, so that a map is
made and looked at instead: a single letter far ahead of a million others is a few bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from streams.core.offsets import finished_map
from streams.core.offsets.commit_metadata import MAP_LIMIT

#: Parts the map from the claim within a commit's metadata. Base64 has no such character.
_MARK = ";"

#: Characters that a claim takes, with its mark, and with the zero that confluent-kafka puts behind it.
CLAIM_LIMIT = 10

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Handled:
    """Offsets below `watermark` are handled, and those in `ranges` (from, to before), which lie beyond it."""

    watermark: int
    ranges: tuple[Range, ...] = ()

    @classmethod
    def read(cls, watermark: int, text: str) -> Handled:
        """Returns what a commit says. Raises finished_map.MapInvalid."""
        ranges = []
        at = watermark
        lengths = finished_map.decode(text)
        for unfinished, finished in zip(lengths[::2], lengths[1::2], strict=True):
            ranges.append((at + unfinished, at + unfinished + finished))
            at += unfinished + finished
        return cls.of(watermark, ranges)

    @classmethod
    def of(cls, watermark: int, ranges: Iterable[Range]) -> Handled:
        """Returns these ranges in order, joined where they touch, and with the watermark as high as it goes."""
        joined: list[Range] = []
        for start, end in sorted(ranges):
            if start <= watermark:
                watermark = max(watermark, end)
            elif joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(joined[-1][1], end))
            else:
                joined.append((start, end))
        return cls(watermark, tuple(joined))

    def __contains__(self, offset: int) -> bool:
        """Whether an offset is handled."""
        if offset < self.watermark:
            return True
        index = bisect_right(self.ranges, (offset, float("inf"))) - 1
        return index >= 0 and offset < self.ranges[index][1]

    def and_also(self, ranges: Iterable[Range]) -> Handled:
        """Returns the same with more ranges."""
        return self.of(self.watermark, (*self.ranges, *ranges))

    def and_offsets(self, offsets: Iterable[int]) -> Handled:
        """Returns the same with more offsets."""
        return self.and_also((offset, offset + 1) for offset in offsets)

    def from_start(self, start: int) -> Handled:
        """Returns the same in a log that begins at `start`: what lies before was deleted, so it is handled."""
        return self.and_also([(0, start)])

    @property
    def text(self) -> str:
        """The map, as a commit's metadata has it."""
        return finished_map.encode(self._runs())

    def fits(self, more: int = 0) -> bool:
        """Whether a commit can hold it, with a claim, whichever of `more` of its offsets turn out not to be in it."""
        text = self.text
        # Each offset that stays unfinished costs so many bits at the most; base64 makes 4 characters of 3 bytes.
        spare = -(-more * finished_map.COST_BITS // 6) + 4 if more else 0
        if len(text) + CLAIM_LIMIT + spare > MAP_LIMIT:
            return False
        try:
            return finished_map.decode(text) == list(self._runs())
        except finished_map.MapInvalid:
            return False

    def _runs(self) -> Iterator[int]:
        at = self.watermark
        for start, end in self.ranges:
            yield start - at
            yield end - start
            at = end


def split(metadata: str) -> tuple[str, str]:
    """The map and the claim of a commit's metadata."""
    text, _, claim = metadata.partition(_MARK)
    return text, claim


def join(text: str, claim: str) -> str:
    """The metadata of a map and a claim."""
    return f"{text}{_MARK}{claim}" if claim else text
