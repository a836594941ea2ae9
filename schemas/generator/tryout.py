"""Tries a generated module out before anybody relies on it: imports it, makes every default, writes and reads a job."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields
from decimal import Decimal
from types import ModuleType
from typing import Any

from schemas.avro.binding import Binding
from schemas.avro.compiled.from_datum import enum_members
from schemas.avro.compiled.to_datum import DumperCompiler, Unfit
from schemas.avro.logical import family_of, reading
from schemas.avro.reader import compile_reader
from schemas.avro.schema_nodes import kind_of, plain
from schemas.avro.writer import compile_writer
from schemas.errors import SchemaInvalid, SchemasError
from schemas.generator.names import attribute_of

_TRIAL = "schemas.models.__trial__"


def try_out(source: str, job_types: Mapping[str, dict[str, Any]]) -> None:
    """Raises SchemaInvalid for what no process could use, with the job type and the field.

    job_types  the parsed schemas of the module's job types, by name
    """
    module = sys.modules[_TRIAL] = ModuleType(_TRIAL)
    try:
        exec(compile(source, _TRIAL, "exec"), module.__dict__)  # noqa: S102 - we have just written it, of checked names
        models = {model.__dict__["JOB_TYPE"]: model for model in vars(module).values() if _is_model(model)}
        for name, schema in job_types.items():
            _try_job(Binding(schema, models[name]))
    except SchemaInvalid:
        raise
    except (SchemasError, RecursionError) as error:
        raise SchemaInvalid(str(error)) from error
    finally:
        del sys.modules[_TRIAL]


def _is_model(thing: Any) -> bool:
    return isinstance(thing, type) and "JOB_TYPE" in thing.__dict__


def _try_job(binding: Binding) -> None:
    records = {name: node for name, node in binding.names.items() if node["type"] == "record"}
    _check_ends(binding, records)
    for node in records.values():
        _try_defaults(binding, node)
    job = _Sample(binding).of(binding.schema)
    compile_reader(binding.schema, binding, 0)(compile_writer(binding, b"")(job))


def _check_ends(binding: Binding, records: dict[str, Any]) -> None:
    """Raise SchemaInvalid for a record that contains itself in every value of it."""
    ending: set[str] = set()

    def ends(node: Any) -> bool:
        node = plain(node, binding.names)
        if kind_of(node) == "union":
            return any(map(ends, node))
        return kind_of(node) != "record" or node["name"] in ending

    while True:
        known = len(ending)
        ending.update(name for name, node in records.items() if all(ends(field["type"]) for field in node["fields"]))
        if len(ending) == known:
            break
    for name in records.keys() - ending:
        raise SchemaInvalid(
            f"{name} contains itself without end, so it has no value; make the field optional, with null in a union"
        )


def _try_defaults(binding: Binding, node: Any) -> None:
    """Make each default once, and hold it to its type."""
    dumper = DumperCompiler(binding, strict=True)
    attributes = {field.name: field for field in fields(binding.classes[node["name"]])}
    for field in node["fields"]:
        if "default" not in field:
            continue
        attribute = attributes[attribute_of(field["name"])]
        where = f"{node['name']}: field {field['name']!r}: its default"
        try:
            value = attribute.default if attribute.default_factory is MISSING else attribute.default_factory()
            dumper.convert_of(field["type"])(value)
        except Unfit as unfit:
            raise SchemaInvalid(
                f"{where} does not fit its type: expected {unfit.expected}, got {unfit.got!r}"
            ) from None
        except RecursionError:
            raise SchemaInvalid(f"{where} contains itself without end") from None


class _Sample:
    """Makes a value of each type, the plainest there is."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._made: dict[str, Any] = {}

    def of(self, node: Any) -> Any:
        """A value of a type, in which fields with a default have it."""
        if family_of(node):
            return _logical(node)
        node = plain(node, self._binding.names)
        if family_of(node):
            return _logical(node)
        kind = kind_of(node)
        if kind == "record":
            return self._record(node)
        if kind == "union":
            return self.of(min(node, key=self._rank))
        if kind == "enum":
            return next(iter(enum_members(self._binding.classes[node["name"]]).values()))
        return b"\0" * node["size"] if kind == "fixed" else _PLAINEST[kind]

    def _record(self, node: Any) -> Any:
        if node["name"] not in self._made:
            required = (field for field in node["fields"] if "default" not in field)
            given = {attribute_of(field["name"]): self.of(field["type"]) for field in required}
            self._made[node["name"]] = self._binding.classes[node["name"]](**given)
        return self._made[node["name"]]

    def _rank(self, branch: Any) -> int:
        """What cannot contain itself is made first."""
        return ("null", "record").index(kind) * 2 if (kind := self._binding.kind(branch)) in {"null", "record"} else 1


_PLAINEST: Mapping[str, Any] = {
    "null": None, "boolean": False, "int": 0, "long": 0, "float": 0.0, "double": 0.0, "bytes": b"", "string": "",
    "array": [], "map": {},
}  # fmt: skip


def _logical(node: Any) -> Any:
    if family_of(node) == "decimal":
        return Decimal(0).scaleb(-node.get("scale", 0))
    return reading(node)("00000000-0000-0000-0000-000000000000" if family_of(node) == "uuid" else 0)
