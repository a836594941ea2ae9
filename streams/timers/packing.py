"""Headers as one value of bytes, for a column of a table: their lengths, and then all of them."""

from __future__ import annotations

from struct import calcsize, pack, unpack_from

from schemas.headers import Headers

#: The length that stands for no value.
_NONE = -1


def packed(headers: Headers) -> bytes:
    """The bytes of some headers."""
    parts: list[bytes] = []
    lengths: list[int] = []
    for name, value in headers:
        encoded = name.encode()
        parts.append(encoded)
        lengths.append(len(encoded))
        if value is None:
            lengths.append(_NONE)
        else:
            parts.append(value)
            lengths.append(len(value))
    return b"".join([pack(f"<i{len(lengths)}i", len(lengths), *lengths), *parts])


def unpacked(content: bytes) -> Headers:
    """The headers of such bytes."""
    (count,) = unpack_from("<i", content)
    lengths = unpack_from(f"<{count}i", content, 4)
    at = calcsize(f"<i{count}i")
    headers: list[tuple[str, bytes | None]] = []
    for i in range(0, count, 2):
        end = at + lengths[i]
        name = content[at:end].decode()
        size = lengths[i + 1]
        at = end if size == _NONE else end + size
        headers.append((name, None if size == _NONE else content[end:at]))
    return headers
