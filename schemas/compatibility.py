"""Whether readers of a job type's later schema versions can read what was written with earlier ones.

Checked by the rules that readers follow, for every version against all before it: jobs wait in retry topics and dead
letters for weeks, so that several versions may have passed between writing and reading. What only our own readers would
read rightly is refused, too: other services may read the same topics.
"""

from __future__ import annotations

from pathlib import Path

from schemas.avro.resolution import resolve
from schemas.catalog import SHIPPED_SCHEMAS
from schemas.job_schema import JobSchema, read_schema, schema_files


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
    objections = resolve(writer.parsed, reader.parsed).objections
    return [f"{reader.name} v{reader.version} cannot read v{writer.version}: {objection}" for objection in objections]
