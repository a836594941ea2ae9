"""Batches as only hostile clients write them: with any bytes for records, and right checksums."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import cramjam
from aiokafka.record.util import calc_crc32c

CODECS: dict[int, Callable[[bytes], Any]] = {
    0: bytes,
    1: cramjam.gzip.compress,
    2: cramjam.snappy.compress_raw,
    3: cramjam.lz4.compress,
    4: cramjam.zstd.compress,
}

_HEAD = struct.Struct(">qiibIhiqqqhii")
_CRC_AT, _AFTER_CRC, _AFTER_LENGTH = 17, 21, 12


def varint(number: int) -> bytes:
    """A number as Kafka writes those of a record."""
    number = number * 2 if number >= 0 else -2 * number - 1
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes([*written, number])


def record(
    delta: int, value: bytes | None = b"v", headers: bytes = varint(0), *, key: bytes | None = None, attributes: int = 0
) -> bytes:
    """One record; `headers` is their number and what follows."""
    body = b"".join((bytes([attributes]), varint(0), varint(delta), _text(key), _text(value), headers))
    return varint(len(body)) + body


def headers(name: bytes, count: int) -> bytes:
    """A number of headers of one name and no value."""
    return varint(count) + (varint(len(name)) + name + varint(-1)) * count


def batch(records: bytes, count: int, codec: int = 0, **head: int) -> bytes:
    """A batch of records, packed with a codec; `head` says what else than the truth its head says."""
    return sealed(CODECS[codec](records), count, codec, **head)


def sealed(
    packed: Any, count: int, codec: int = 0, *, base: int = 0, last: int | None = None, stated: int | None = None
) -> bytes:
    """A batch whose records are packed already."""
    packed = bytes(packed)
    last = count - 1 if last is None else last
    stated = count if stated is None else stated
    fields = (base, _HEAD.size - _AFTER_LENGTH + len(packed), 0, 2, 0, codec, last, 0, 0, -1, -1, -1, stated)
    return with_crc(_HEAD.pack(*fields) + packed)


def with_crc(raw: bytes) -> bytes:
    """The same batch with the checksum that fits it."""
    checksum: int = calc_crc32c(raw[_AFTER_CRC:])
    return raw[:_CRC_AT] + checksum.to_bytes(4, "big") + raw[_AFTER_CRC:]


def bombs(size: int) -> Iterator[tuple[int, bytes]]:
    """A batch of each codec whose one record unpacks to `size` bytes, with its codec."""
    value = record(0, bytes(size))
    for codec in (1, 2, 3, 4):
        yield codec, batch(value, 1, codec)


def _text(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value
