"""In which partition a key belongs: murmur2, as Java's client places keys (`org.apache.kafka.common.utils.Utils`)."""

from __future__ import annotations

_M = 0x5BD1E995
_SEED = 0x9747B28C
_32_BITS = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """The hash of a key, as an unsigned number of 32 bits."""
    whole = len(key) & ~3
    found = _SEED ^ len(key)
    for start in range(0, whole, 4):
        k = int.from_bytes(key[start : start + 4], "little") * _M & _32_BITS
        found = found * _M & _32_BITS ^ (k ^ k >> 24) * _M & _32_BITS
    if len(key) > whole:
        found = (found ^ int.from_bytes(key[whole:], "little")) * _M & _32_BITS
    found = (found ^ found >> 13) * _M & _32_BITS
    return found ^ found >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key in a topic of so many."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def is_misplaced(key: bytes, partition: int, partitions: int) -> bool:
    """Whether no client that places keys as Java's does can have put a key into a partition.

    partitions  how many the topic has. It may have had fewer when the key was published, so a key is misplaced only
                where it lies in a partition that none of the smaller numbers gives. Of the keys that another rule has
                placed that is true of about a half, at the least, and of others of none.
    """
    placed = murmur2(key) & 0x7FFFFFFF
    return all(placed % number != partition for number in range(partitions, partition, -1))
