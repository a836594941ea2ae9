"""A dead letter: a record of the dead-letter topic, and what its headers say, whatever they hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from schemas import headers as names
from schemas.errors import HeaderInvalid
from schemas.headers import TEXT_LIMIT, Headers, Origin, parse_origin


@dataclass(frozen=True)
class Letter:
    """One dead letter. Every property is None where its header is missing or cannot be read; none raises."""

    #: Where it lies on the dead-letter topic.
    place: Origin
    key: bytes | None
    value: bytes | None
    #: As read.
    headers: Headers
    #: The record's own time, in epoch milliseconds.
    timestamp: int | None = None
    #: The job's type: what its value says, else what its publisher states.
    type: str | None = None
    #: Whether it has been redriven or purged.
    handled: bool = False

    @cached_property
    def _found(self) -> dict[str, bytes | None]:
        return dict(self.headers)

    @property
    def partition(self) -> int:
        """Its partition of the dead-letter topic."""
        return self.place.partition

    @property
    def offset(self) -> int:
        """Its offset in its partition."""
        return self.place.offset

    @property
    def id(self) -> str:
        """The job's id; of a job that was published without one, it is where that was."""
        value = self._found.get(names.CE_ID)
        if value and len(value) <= TEXT_LIMIT:
            return shown_bytes(value)
        first = self.origin or self.place
        return f"{first.topic}-{first.partition}-{first.offset}"

    @property
    def origin(self) -> Origin | None:
        """Where the job was first published."""
        try:
            return parse_origin(self._found.get(names.ORIGIN))
        except HeaderInvalid:
            return None

    @property
    def error_type(self) -> str | None:
        """The name of the error's type."""
        return self.text(names.ERROR_TYPE)

    @property
    def error_message(self) -> str | None:
        """What the error says."""
        return self.text(names.ERROR_MESSAGE)

    @property
    def error_stack(self) -> str | None:
        """Where it was raised."""
        return self.text(names.ERROR_STACK)

    @property
    def attempts(self) -> int | None:
        """How many attempts were counted."""
        return self.number(names.ATTEMPT)

    @property
    def redrives(self) -> int:
        """How often the job has been redriven; 0 also where that cannot be read."""
        return self.number(names.REDRIVES) or 0

    @property
    def first_failed_at(self) -> int | None:
        """Epoch milliseconds of the first failure."""
        return self.number(names.FIRST_FAILED_AT)

    @property
    def last_failed_at(self) -> int | None:
        """Epoch milliseconds of the last failure."""
        return self.number(names.LAST_FAILED_AT)

    @property
    def failed_at(self) -> int | None:
        """Epoch milliseconds of the last failure; where that cannot be read, of the record itself."""
        return self.timestamp if self.last_failed_at is None else self.last_failed_at

    @property
    def expires_at(self) -> int | None:
        """Epoch milliseconds after which the job is not to run."""
        return self.number(names.EXPIRES_AT)

    def text(self, name: str) -> str | None:
        """A header as text, with what is not UTF-8 escaped."""
        value = self._found.get(name)
        return None if value is None else shown_bytes(value)

    def number(self, name: str) -> int | None:
        """A header as a number of at most 18 digits."""
        value = self._found.get(name)
        return int(value) if value is not None and value.isdigit() and len(value) <= 18 else None


def shown_bytes(value: bytes) -> str:
    """Bytes as text, with what is not UTF-8 escaped. Control characters stay: see `plain`."""
    return value.decode("utf-8", "backslashreplace")
