"""One released version of a job type's Avro schema."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import avro.errors
import avro.schema
import fastavro
from fastavro.schema import SchemaParseException, fingerprint, to_parsing_canonical_form

from schemas.avro.hostile_bytes import hazard
from schemas.errors import SchemaInvalid
from schemas.limits import DEFAULT_LIMITS, Limits

#: Characters of a schema's text for each type that it may have.
_TEXT_OF_A_NODE = 100

_FILE_NAME = re.compile(r"(?P<type>[A-Za-z_][A-Za-z0-9_]*)\.v(?P<version>[1-9][0-9]*)\.avsc")


@dataclass(frozen=True)
class JobSchema:
    """One version of a job type's schema; the highest version is the current one."""

    name: str  # Avro full name, such as jobs.email.SendEmail
    version: int  # from the file's name, counted from 1
    fingerprint: bytes  # CRC-64-AVRO, 8 bytes little-endian as the single-object encoding has it
    parsed: dict[str, Any]  # as fastavro wants it
    text: str  # the file as it is


def read_schema(path: Path) -> JobSchema:
    """Reads one file named <Type>.v<N>.avsc; raises SchemaInvalid naming the file and what is wrong."""
    named = _FILE_NAME.fullmatch(path.name)
    if not named:
        raise SchemaInvalid(f"{path}: a schema file is named <Type>.v<N>.avsc, such as SendEmail.v1.avsc")
    try:
        text = path.read_bytes().decode("utf-8-sig")  # Some editors write the mark, and mean nothing by it.
        json.loads(text, object_pairs_hook=_once)
        schema = parse_schema(text)
    except OSError as error:
        raise SchemaInvalid(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SchemaInvalid(f"{path}: is not in UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise SchemaInvalid(
            f"{path}: not a valid Avro schema: it is not JSON, which has no comments either: {error}"
        ) from error
    except RecursionError as error:
        raise SchemaInvalid(f"{path}: not a valid Avro schema: it is nested too deeply") from error
    except SchemaInvalid as error:
        raise SchemaInvalid(f"{path}: {error}") from error
    simple_name = schema["name"].rpartition(".")[2]
    if simple_name != named["type"]:
        raise SchemaInvalid(f"{path}: the record is called {simple_name!r}; file and record have one name")
    return JobSchema(schema["name"], int(named["version"]), fingerprint_of(schema), schema, text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON in which no name stands twice, of which all but the last would be ignored."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise SchemaInvalid(f"{name!r} stands twice in one object")
        found[name] = value
    return found


def schema_files(root: Path) -> Iterator[Path]:
    """The schema files of a directory: one folder a queue, one file a version."""
    if not root.is_dir():
        raise SchemaInvalid(f"{root}: no such directory; it should hold <queue>/<Type>.v<N>.avsc files")
    yield from sorted(root.glob("*/*.avsc"))


def parse_schema(text: str) -> dict[str, Any]:
    """Parses a job's schema as fastavro wants it, checked by `avro`'s stricter parser first; raises SchemaInvalid."""
    try:
        with warnings.catch_warnings():
            # It ignores the logical types it does not know, as the specification demands; fastavro knows more.
            warnings.simplefilter("ignore", avro.errors.IgnoredLogicalType)
            avro.schema.parse(text)
    except (avro.errors.AvroException, ValueError, TypeError, LookupError, RecursionError) as error:
        raise SchemaInvalid(f"not a valid Avro schema: {error}") from error
    parsed = parse_writer_schema(text)
    if "." not in parsed["name"]:
        raise SchemaInvalid(f"the record {parsed['name']!r} needs a namespace, whose last part names its queue")
    return parsed


def parse_writer_schema(text: str, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """Parses a schema that somebody else wrote a job with; raises SchemaInvalid."""
    if len(text) > (most := limits.schema_nodes * _TEXT_OF_A_NODE):
        raise SchemaInvalid(f"its text has {len(text):,} characters; STREAMS_MAX_SCHEMA_NODES allows {most:,}")
    try:
        parsed = fastavro.parse_schema(json.loads(text))
        problem = _unfit(parsed, limits)
    except RecursionError:
        raise SchemaInvalid("its types are nested too deep") from None
    except (SchemaParseException, ValueError, TypeError, LookupError, AttributeError) as error:
        raise SchemaInvalid(f"not a valid Avro schema: {error}") from error
    if problem:
        raise SchemaInvalid(problem)
    assert isinstance(parsed, dict)  # noqa: S101 - else it is unfit
    return parsed


def _unfit(parsed: Any, limits: Limits) -> str | None:
    if not isinstance(parsed, dict) or parsed["type"] != "record":
        return "the schema of a job is a record"
    return hazard(parsed, limits)


def fingerprint_of(schema: dict[str, Any]) -> bytes:
    """CRC-64-AVRO of the schema's canonical form, 8 bytes little-endian (Avro spec, Single-object encoding)."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
