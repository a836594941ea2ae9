"""A record that waits for long, in a quarter of the memory that its value and headers take as objects."""

from __future__ import annotations

from collections.abc import Sequence
from marshal import dumps, loads
from typing import Any

from streams.ports.records import Record


class PackedRecord:
    """A record of a parked job: its value and headers are unpacked each time that they are asked for.

    There may be hundreds of thousands. An Assignment's partitions make one of each record that they park.
    """

    __slots__ = ("_content", "key", "offset", "timestamp")

    def __init__(self, record: Record, key: bytes | None) -> None:
        self.offset = record.offset
        self.timestamp = record.timestamp
        self.key = key
        # The quickest there is, and safe here: these bytes never leave the process, nor come from elsewhere.
        self._content = dumps((record.value, [(name, content) for name, content in record.headers]))

    @property
    def value(self) -> bytes | None:
        """As the record has it."""
        value: bytes | None = loads(self._content)[0]  # noqa: S302 # see above
        return value

    @property
    def headers(self) -> Sequence[tuple[str, Any]]:
        """As the record has them."""
        headers: list[tuple[str, Any]] = loads(self._content)[1]  # noqa: S302 # see above
        return headers


def packed(record: Record, key: bytes | None) -> Record:
    """The record in little memory, with this object for its key, unless it is None."""
    return PackedRecord(record, record.key if key is None else key)
