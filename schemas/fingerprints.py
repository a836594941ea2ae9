"""Prints the ten bytes that begin every value of a schema, for producers that do not use this project's library.

    python -m schemas.fingerprints                   the schemas that come with the project
    python -m schemas.fingerprints --schemas DIR     your own

Each line has the prefix in hex (Avro's single-object encoding: C3 01, then the CRC-64-AVRO fingerprint, little-endian),
the job type, its version and the file. A value is the prefix of the schema that it was written with, and an Avro body.
Do not rely on the fingerprint that your Avro library computes: several keep logical types in the canonical form, and so
get another one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from schemas.catalog import SHIPPED_SCHEMAS
from schemas.codec import SINGLE_OBJECT
from schemas.errors import SchemaInvalid
from schemas.job_schema import read_schema, schema_files


def lines(schemas: Path) -> list[str]:
    """One line for each schema file of a directory; raises SchemaInvalid, also where there is none."""
    found = [(path, read_schema(path)) for path in schema_files(schemas)]
    if not found:
        raise SchemaInvalid(f"{schemas}: no schemas there; it should hold <queue>/<Type>.v<N>.avsc files")
    return [
        f"{(SINGLE_OBJECT + schema.fingerprint).hex()}  {schema.name} v{schema.version}  {path}"
        for path, schema in found
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m schemas.fingerprints", description="Print the first ten bytes of the values of each schema."
    )
    parser.add_argument("--schemas", type=Path, default=SHIPPED_SCHEMAS, help="directory of the .avsc files")
    try:
        print(*lines(parser.parse_args(arguments).schemas), sep="\n")  # noqa: T201 - what the command is for
    except (SchemaInvalid, OSError, UnicodeDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
