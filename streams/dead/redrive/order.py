"""The order in which letters go back: that of publication within each key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.headers import Origin


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is kept of a letter until it is its turn."""

    offset: int
    key: bytes | None
    origin: Origin | None


def in_publication_order(found: Sequence[Candidate]) -> list[int]:
    """Returns the offsets of one partition's letters, given by offset, in the order to send them.

    The letters of each key change places among themselves only. So what lies in order stays where it is, and what is
    handled at any time is nearly one stretch, which makes a small map. Letters without an origin come last of their
    key; those without a key wait for nobody.
    """
    lanes: dict[bytes, list[Candidate]] = defaultdict(list)
    for candidate in found:
        if candidate.key is not None:
            lanes[candidate.key].append(candidate)
    turns = {key: iter(sorted(lane, key=_published)) for key, lane in lanes.items()}
    return [each.offset if each.key is None else next(turns[each.key]).offset for each in found]


def _published(candidate: Candidate) -> tuple[bool, Origin | tuple[()], int]:
    return candidate.origin is None, candidate.origin or (), candidate.offset
