"""What crosses the wire: the Avro schemas, the typed models generated from them, the codec and the headers."""

from schemas.catalog import Catalog, Payload, shipped
from schemas.codec import Codec
from schemas.errors import (
    CorruptPayload,
    HeaderInvalid,
    MissingPayload,
    ModelInvalid,
    PayloadInvalid,
    RegistryRefused,
    RegistryUnavailable,
    SchemaInvalid,
    SchemaMismatch,
    SchemasError,
    TrailingBytes,
    TruncatedPayload,
    Undecodable,
    UnknownFraming,
    UnknownJobType,
    UnknownSchema,
)
from schemas.headers import Metadata, Origin
from schemas.job_schema import JobSchema
from schemas.registry import Registry, RegistrySettings, SubjectStrategy

__all__ = [
    "Catalog",
    "Codec",
    "CorruptPayload",
    "HeaderInvalid",
    "JobSchema",
    "Metadata",
    "MissingPayload",
    "ModelInvalid",
    "Origin",
    "Payload",
    "PayloadInvalid",
    "Registry",
    "RegistryRefused",
    "RegistrySettings",
    "RegistryUnavailable",
    "SchemaInvalid",
    "SchemaMismatch",
    "SchemasError",
    "SubjectStrategy",
    "TrailingBytes",
    "TruncatedPayload",
    "Undecodable",
    "UnknownFraming",
    "UnknownJobType",
    "UnknownSchema",
    "shipped",
]
