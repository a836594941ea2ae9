"""Everything that `schemas` raises.

SchemasError
├── PayloadInvalid         a payload does not fit its schema; names the field
├── HeaderInvalid          a header of a record cannot be read; names the header
├── Undecodable            a record's value can never be decoded by this process
│   ├── RecordRefused      a worker has not taken the whole record, since it is above a bound or broken
│   ├── MissingPayload     the value is null or empty
│   ├── UnknownFraming     neither Confluent wire format nor Avro single-object encoding
│   ├── UnknownSchema      the writer's schema cannot be had: a worker of a later version may know it
│   │   └── UnusableSchema no process will ever read with it
│   ├── UnknownJobType     the schema is known, but no model belongs to it; as above
│   ├── SchemaMismatch     the writer's schema cannot be resolved to the current one
│   │   └── UnknownVersion … and is no released one that is known here: as above
│   ├── AboveBounds        the payload is above a bound of this process
│   └── CorruptPayload     the bytes do not follow the writer's schema
│       ├── TruncatedPayload
│       └── TrailingBytes
├── RegistryUnavailable    the schema registry is down or slow: wait and try again
├── RegistryRefused        the schema registry answered, and said no
├── SchemaInvalid          a schema file cannot be used
└── ModelInvalid           a class is no model of a job type, or does not match its schema
"""

from __future__ import annotations


class SchemasError(Exception):
    """Base of all errors of this package."""


class PayloadInvalid(SchemasError, ValueError):
    """Raised when a payload does not fit its schema; nothing has been sent."""

    def __init__(self, job_type: str, field: str, expected: str, got: object) -> None:
        self.job_type = job_type
        self.field = field
        self.expected = expected
        super().__init__(f"{job_type}: field {field!r}: expected {expected}, got {_shown(got)}")


class HeaderInvalid(SchemasError, ValueError):
    """Raised when a header of a record cannot be read."""

    def __init__(self, name: str, value: bytes | None, expected: str) -> None:
        self.name = name
        self.value = value
        self.expected = expected
        super().__init__(f"header {name!r}: expected {expected}, got {_shown(value)}")


class Undecodable(SchemasError):
    """Raised when a record's value can never be decoded here, however often it is tried."""


class RecordRefused(Undecodable):
    """Raised for a record of which not everything was taken, since it is above a bound or follows no format."""


class MissingPayload(Undecodable):
    """Raised when a record has a null or an empty value."""

    def __init__(self) -> None:
        super().__init__("the record has no value; a job's value is its Avro payload")


class UnknownFraming(Undecodable):
    """Raised when a value starts neither like Confluent's wire format nor like Avro's single-object encoding."""

    def __init__(self, value: bytes) -> None:
        super().__init__(
            f"the value starts with {value[:10].hex(' ')}; expected 00 and a 4-byte schema id (Confluent wire format), "
            "or C3 01 and an 8-byte fingerprint (Avro single-object encoding)"
        )


class UnknownSchema(Undecodable):
    """Raised when the schema a value was written with cannot be had."""


class UnusableSchema(UnknownSchema):
    """Raised when the schema a value was written with is none that any process could read with."""


class UnknownJobType(Undecodable):
    """Raised when a schema is known, but no model belongs to its job type."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"no model is known for job type {name!r}; declare a handler for it in a package of STREAMS_JOBS"
        )


class SchemaMismatch(Undecodable):
    """Raised when a writer's schema cannot be resolved to the current schema of the job type."""


class UnknownVersion(SchemaMismatch):
    """Raised for a mismatch where the writer's schema is no version of the job type that is known here."""


class AboveBounds(Undecodable):
    """Raised when a payload is larger or deeper than this process takes."""


class CorruptPayload(Undecodable):
    """Raised when the bytes of a value do not follow the schema they claim to be written with."""


class TruncatedPayload(CorruptPayload):
    """Raised when a value ends before its payload does."""


class TrailingBytes(CorruptPayload):
    """Raised when a value goes on after its payload has ended."""


class RegistryUnavailable(SchemasError):
    """Raised when the schema registry is down or slow; the same call may succeed later."""


class RegistryRefused(SchemasError):
    """Raised when the schema registry answered a registration or lookup with a refusal."""


class SchemaInvalid(SchemasError, ValueError):
    """Raised when a schema file cannot be used."""


class ModelInvalid(SchemasError, TypeError):
    """Raised when a class is no model of a job type, or does not match its schema."""


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # A value nested too deeply cannot even be shown.
        text = f"an instance of {type(value).__qualname__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
