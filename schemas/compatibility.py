"""Whether readers of a job type's later schema versions can read what was written with earlier ones.

Checked by `avro`'s own rules, for every version against all before it: jobs wait in retry topics and dead letters for
weeks, so that several versions may have passed between writing and reading.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import avro.errors
import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from schemas.catalog import SHIPPED_SCHEMAS
from schemas.job_schema import JobSchema, read_schema, schema_files

_REMEDY = "give new fields a default, keep fields that have none, and keep types"


def incompatibilities(schemas: Path = SHIPPED_SCHEMAS) -> list[str]:
    """What a later version of a job type cannot read of an earlier one, each with its place and remedy."""
    types: dict[str, list[JobSchema]] = {}
    for path in schema_files(schemas):
        schema = read_schema(path)
        types.setdefault(schema.name, []).append(schema)
    return [problem for versions in types.values() for problem in _between(versions)]


def _between(versions: list[JobSchema]) -> list[str]:
    ordered = sorted(versions, key=lambda schema: schema.version)
    return [
        problem
        for index, reader in enumerate(ordered)
        for writer in ordered[:index]
        for problem in _against(reader, writer)
    ]


def _against(reader: JobSchema, writer: JobSchema) -> list[str]:
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    result = checker.get_compatibility(_parsed(reader), _parsed(writer))
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    messages, places = "; ".join(sorted(result.messages)), ", ".join(sorted(result.locations))
    return [f"{reader.name} v{reader.version} cannot read v{writer.version}: {messages} (at {places}); {_REMEDY}"]


def _parsed(schema: JobSchema) -> avro.schema.Schema:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", avro.errors.IgnoredLogicalType)
        return avro.schema.parse(schema.text)
