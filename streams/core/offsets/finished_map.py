"""The finished-offset map: which offsets beyond the watermark are finished, as text for a commit's metadata.

Kafka keeps one offset and one string of metadata per committed partition. The offset is the watermark; the string is
this map, so a restarted worker skips what is finished although an earlier offset is not.

The map is a list of tokens over consecutive offsets from the watermark on. A token opens with an unsigned LEB128
number:

    n << 2 | finished << 1      a run of n offsets, all finished (1) or all unfinished (0)
    n << 1 | 1                  a literal: n bytes follow, one bit an offset, least significant first, 1 = finished

Long runs cost a few bytes whatever their length, and irregular stretches cost a bit an offset, so the size of a map is
bounded by the number of unfinished offsets (`COST_BITS` each) and never by how far the watermark lags behind.
The bytes are then base64-encoded behind a version letter.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator

from streams.core.offsets.commit_metadata import MAP_LIMIT

#: How many bytes of tokens fit into the map: base64 makes 4 characters of 3 bytes, one letter is the version's.
TOKEN_LIMIT = (MAP_LIMIT - 1) // 4 * 3

#: What one more offset can add to the map at the most, in bits, whatever finishes in which order. A property test
#: holds `encode` to it.
COST_BITS = 2

#: Runs shorter than this go into a literal. A run token, the literal's header and its padding cost at most eight bytes.
_SHORT_RUN = 64

#: Bytes that a number below 2**63 takes at the most.
_LONGEST_NUMBER = 9

_VERSION = "1"

#: More than this cannot come from `encode` under the admission rule, and would cost a restart its memory.
_MOST_UNFINISHED = 1_000_000


class MapInvalid(ValueError):
    """A text is no finished-offset map."""


def encode(runs: Iterable[int]) -> str:
    """Write alternating run lengths (unfinished first, then finished, and so on) as a map.

    What does not fit is cut off at the end: offsets beyond it count as unfinished, and would run again after a crash.
    Admission sees to it that this does not happen (`OffsetTracker.map_headroom`).
    """
    tokens = _tokens(runs)
    return _VERSION + binascii.b2a_base64(tokens, newline=False).decode("ascii") if tokens else ""


def decode(text: str) -> list[int]:
    """Read a map back into alternating run lengths, unfinished first. Raises MapInvalid for what is none."""
    if not text:
        return []
    if text[0] != _VERSION:
        raise MapInvalid(f"unknown version {text[0]!r} of the finished-offset map")
    try:
        tokens = base64.b64decode(text[1:], validate=True)
    except (binascii.Error, ValueError) as error:
        raise MapInvalid(f"the finished-offset map is not base64: {error}") from error
    return _merge(_read(tokens))


def spare_offsets(text: str) -> int:
    """Returns how many more offsets fit into a map of this text, whichever of them finish: COST_BITS each."""
    return (MAP_LIMIT - len(text)) * 3 // 4 * 8 // COST_BITS


def _tokens(runs: Iterable[int]) -> bytes:
    out = bytearray()
    bits = filled = 0
    finished = False
    for length in runs:
        left = length
        if left >= _SHORT_RUN:
            # A literal ends on a whole byte: the run lends it the bits that are missing.
            padding = -filled % 8
            bits, filled = _append(bits, filled, padding, finished)
            left -= padding
            # Nothing may follow what was cut: it would be read as lying earlier than it does.
            if not _flush(out, bits, filled) or len(out) > TOKEN_LIMIT - _LONGEST_NUMBER:
                return bytes(out)
            bits = filled = 0
            _write_number(out, left << 2 | finished << 1)
        else:
            bits, filled = _append(bits, filled, left, finished)
        finished = not finished
    # Padding at the very end reads as unfinished, which is true of every offset beyond the map.
    _flush(out, bits, filled)
    return bytes(out)


def _append(bits: int, filled: int, length: int, finished: bool) -> tuple[int, int]:
    if finished:
        bits |= ((1 << length) - 1) << filled
    return bits, filled + length


def _flush(out: bytearray, bits: int, filled: int) -> bool:
    """Write a literal, or as much of it as fits. Returns whether that was all."""
    wanted = (filled + 7) // 8
    size = min(wanted, TOKEN_LIMIT - _LONGEST_NUMBER - len(out))
    if size > 0:
        _write_number(out, size << 1 | 1)
        out += (bits & ((1 << size * 8) - 1)).to_bytes(size, "little")
    return size >= wanted


def _write_number(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _read_number(tokens: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(tokens) or shift > 63:
            raise MapInvalid("the finished-offset map ends within a number")
        byte = tokens[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7


def _read(tokens: bytes) -> Iterator[tuple[bool, int]]:
    at = 0
    while at < len(tokens):
        number, at = _read_number(tokens, at)
        if number & 1:
            size = number >> 1
            if at + size > len(tokens):
                raise MapInvalid("the finished-offset map ends within a literal")
            for byte in tokens[at : at + size]:
                for bit in range(8):
                    yield bool(byte >> bit & 1), 1
            at += size
        else:
            yield bool(number & 2), number >> 2


def _merge(pieces: Iterator[tuple[bool, int]]) -> list[int]:
    runs: list[int] = []
    unfinished = 0
    for finished, length in pieces:
        if not length:
            continue
        if not finished:
            unfinished += length
            if unfinished > _MOST_UNFINISHED:
                raise MapInvalid(f"the finished-offset map has more than {_MOST_UNFINISHED:,} unfinished offsets")
        if (len(runs) % 2 == 0) == finished:
            # The piece goes on with the kind of the last run, or opens a map that starts finished.
            if runs:
                runs[-1] += length
            else:
                runs += [0, length]
        else:
            runs.append(length)
    if len(runs) % 2:
        runs.pop()
    return runs
