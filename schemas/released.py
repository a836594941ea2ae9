"""The list of released schemas, which keeps them from being edited once somebody may have written jobs with them.

python -m schemas.released           adds new schema files to released.txt; fails when a released one has changed
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from schemas.catalog import SHIPPED_SCHEMAS
from schemas.job_schema import JobSchema, read_schema, schema_files

SHIPPED_RELEASES = Path(__file__).parent / "released.txt"
_RELEASE = "run python -m schemas.released to release it"
_RESTORE = "restore the file as it was and write the change as the next version, <Type>.v<N+1>.avsc"


def released_line(schema: JobSchema) -> str:
    """A line of the list: full name, version, fingerprint as the single-object encoding has it, digest of the JSON.

    The fingerprint finds the schema of a job; it ignores defaults and logical types, so the digest tells an edit. Docs
    change nothing of what is read and written, and may be corrected.
    """
    content = json.dumps(_without_docs(json.loads(schema.text)), sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return f"{schema.name} v{schema.version} {schema.fingerprint.hex()} {digest}"


def _without_docs(node: Any) -> Any:
    """A schema's JSON without its docs. Defaults stay whole: they are data, of which a key may be called doc."""
    if isinstance(node, list):
        return [_without_docs(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {name: part if name == "default" else _without_docs(part) for name, part in node.items() if name != "doc"}


def problems(schemas: Path = SHIPPED_SCHEMAS, releases: Path = SHIPPED_RELEASES) -> list[str]:
    """What is wrong between the schema files and the list of released ones, each with its remedy."""
    listed, present = _listed(releases), _present(schemas)
    found = [f"{name} is not in {releases.name}; {_RELEASE}" for name in present if name not in listed]
    found += _broken(listed, present, releases)
    return found


def release(schemas: Path = SHIPPED_SCHEMAS, releases: Path = SHIPPED_RELEASES) -> list[str]:
    """Adds new schema files to the list; returns, and does nothing, when a released one was changed or removed."""
    listed, present = _listed(releases), _present(schemas)
    broken = _broken(listed, present, releases)
    if not broken:
        releases.write_text("".join(f"{line}\n" for _, line in sorted(present.items())), "utf-8")
    return broken


def _broken(listed: dict[str, str], present: dict[str, str], releases: Path) -> list[str]:
    missing = [f"{name} was released and is gone; {_RESTORE}" for name in listed if name not in present]
    return missing + [
        f"{name} was edited after its release ({releases.name} says {line!r}); {_RESTORE}"
        for name, line in listed.items()
        if present.get(name, line) != line
    ]


def _listed(releases: Path) -> dict[str, str]:
    lines = releases.read_text("utf-8").splitlines() if releases.exists() else []
    return {_version_of(line): line for line in lines}


def _present(schemas: Path) -> dict[str, str]:
    lines = (released_line(read_schema(path)) for path in schema_files(schemas))
    return {_version_of(line): line for line in lines}


def _version_of(line: str) -> str:
    return " ".join(line.split(" ")[:2])


if __name__ == "__main__":
    sys.exit("\n".join(release()) or 0)
