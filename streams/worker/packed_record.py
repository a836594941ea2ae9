"""A record that waits for long: its value and headers as one object, in less memory than they take as many."""

from __future__ import annotations

from marshal import dumps, loads

from schemas.headers import Headers
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
        return self._unpacked()[0]

    @property
    def headers(self) -> Headers:
        """As the record has them."""
        return self._unpacked()[1]

    def _unpacked(self) -> tuple[bytes | None, Headers]:
        content: tuple[bytes | None, Headers] = loads(self._content)  # noqa: S302 # our own bytes: see above
        return content
