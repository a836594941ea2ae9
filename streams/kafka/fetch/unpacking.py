"""Unpacks batches of records within a bound: a few hundred bytes may stand for gigabytes.

The bound holds while unpacking, since what a batch says of its own size need not be true.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import Any

import cramjam

#: Codecs as a batch names them, see KIP-98 and KIP-110.
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4

#: How snappy's streams begin as Java writes them, and how many bytes that takes with two numbers of a version.
_XERIAL, _XERIAL_HEAD = b"\x82SNAPPY\x00", 16

#: Unpacked bytes whose memory is given back at once, since few batches are as large.
_LARGE = 4 * 1024 * 1024


class CannotUnpack(ValueError):
    """Raised for bytes that are not what their codec makes, or that unpack to more than they may."""


class Unpacker:
    """Unpacks one batch after the other. It has memory for the largest, which takes up only what was in use."""

    def __init__(self, limit: int) -> None:
        """A batch may unpack to `limit` bytes."""
        self.limit = limit
        self._memory = mmap.mmap(-1, limit)

    def unpack(self, codec: int, packed: memoryview, head: bytes = b"") -> bytes:
        """What a codec has packed, behind a head; raises CannotUnpack, and KeyError for an unknown codec."""
        with memoryview(self._memory) as memory:
            try:
                size = self._unpack_snappy(packed, memory) if codec == SNAPPY else _STREAMS[codec](packed, memory)
            except cramjam.DecompressionError as error:
                # Of either kind, and no type of error tells which.
                raise CannotUnpack(
                    f"it does not unpack within STREAMS_MAX_BATCH_BYTES={self.limit} bytes ({error})"
                ) from error
            with memory[:size] as unpacked:
                whole = b"".join((head, unpacked))
        if size > _LARGE:
            self._memory.madvise(mmap.MADV_DONTNEED)
        return whole

    def _unpack_snappy(self, packed: memoryview, memory: memoryview) -> int:
        blocks = [(block, cramjam.snappy.decompress_raw_len(block)) for block in _snappy_blocks(packed)]
        size = sum(length for _, length in blocks)
        if size > self.limit:
            raise CannotUnpack(f"it unpacks to {size:,} bytes, more than STREAMS_MAX_BATCH_BYTES={self.limit}")
        at = 0
        for block, length in blocks:
            at += cramjam.snappy.decompress_raw_into(block, memory[at : at + length])
        return at


def _snappy_blocks(packed: memoryview) -> Iterator[memoryview]:
    if packed[: len(_XERIAL)] != _XERIAL:
        yield packed
        return
    at = _XERIAL_HEAD
    while at < len(packed):
        start = at + 4
        at = start + int.from_bytes(packed[at:start], "big", signed=True)
        if not start < at <= len(packed):
            raise CannotUnpack("it is not what snappy makes (a block of no length, or longer than the rest)")
        yield packed[start:at]


_STREAMS: dict[int, Callable[[Any, Any], int]] = {
    GZIP: cramjam.gzip.decompress_into,
    LZ4: cramjam.lz4.decompress_into,
    ZSTD: cramjam.zstd.decompress_into,
}
