"""Ties an Avro schema to the Python classes generated from it, by name, and checks that they belong together."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any

from fastavro.read import LOGICAL_READERS

from schemas.avro.logical import is_decimal
from schemas.avro.schema_nodes import is_recursive, kind_of, named_types, plain, walk
from schemas.errors import ModelInvalid, SchemaInvalid
from schemas.generator.names import CLASSES, attribute_of, class_of

_UNSUPPORTED = frozenset({"duration", "timestamp-nanos", "local-timestamp-nanos", "uuid", "decimal"})
_REMEDY = "generate the models again: python -m schemas.generate (--schemas DIR --models DIR)"
RAW_TYPES: Mapping[str, type] = {
    "null": type(None), "boolean": bool, "int": int, "long": int, "float": float, "double": float, "bytes": bytes,
    "string": str, "fixed": bytes, "enum": str, "array": list, "map": dict, "record": dict,
}  # fmt: skip


def logical_key(node: Any) -> str | None:
    """The name fastavro knows a logical type by, such as long-timestamp-millis, or None."""
    if not isinstance(node, dict) or "logicalType" not in node:
        return None
    key = f"{node['type']}-{node['logicalType']}"
    return key if key in LOGICAL_READERS else None


class Binding:
    """A parsed schema together with the classes of its records and enums."""

    def __init__(self, schema: dict[str, Any], model: type) -> None:
        """Raises ModelInvalid when the model does not match the schema, SchemaInvalid when no model could."""
        self.schema = schema
        self.model = model
        self.names = named_types(schema)
        self.recursive = is_recursive(schema)
        self.tagged = any(self._look_alike(node) for node in walk(schema) if isinstance(node, list))
        self._module = sys.modules[model.__module__]
        self._check_logical_types()
        self.classes = {name: self._class_of(name) for name in self.names if self._has_class(name)}

    def resolve(self, node: Any) -> Any:
        """The type behind a name; a logical type stays whole."""
        return node if logical_key(node) else plain(node, self.names)

    def kind(self, node: Any) -> str:
        """The kind of type a node is: a primitive's name, record, enum, fixed, array, map or union."""
        return kind_of(plain(node, self.names))

    def name(self) -> str:
        """The job type: the schema's full name."""
        return str(self.schema["name"])

    def _look_alike(self, union: list[Any]) -> bool:
        """Whether branches of a union cannot be told apart by the Python type of what fastavro reads."""
        kinds = [self.kind(branch) for branch in union]
        raw = [RAW_TYPES[kind] for kind in kinds]
        alike = [branch for branch, of in zip(union, raw, strict=True) if raw.count(of) > 1]
        if any(logical_key(branch) for branch in alike):
            where = _field_of(union, self.schema)
            raise SchemaInvalid(
                f"{self.name()}: {alike} in one union cannot be told apart{where}; use a field for each"
            )
        return any(self.kind(branch) in {"record", "enum", "fixed"} for branch in alike)

    def _check_logical_types(self) -> None:
        for node in walk(self.schema):
            logical = node.get("logicalType") if isinstance(node, dict) else None
            if logical in _UNSUPPORTED and not (logical_key(node) and (logical != "decimal" or is_decimal(node))):
                what = f"logical type {logical!r} on {node['type']!r}"
                raise SchemaInvalid(f"{self.name()}: {what} is not supported{_field_of(node, self.schema)}")

    def _has_class(self, name: str) -> bool:
        return self.names[name]["type"] in {"record", "enum"}

    def _class_of(self, name: str) -> type:
        generated = getattr(self._module, CLASSES, {}).get(name, class_of(name))
        found = self.model if name == self.schema["name"] else getattr(self._module, generated, None)
        if not isinstance(found, type):
            raise ModelInvalid(f"{self._module.__name__}: no class {generated!r} for {name}; {_REMEDY}")
        expected, actual = _members(self.names[name]), _attributes(found)
        if expected != actual:
            differing = ", ".join(sorted(expected ^ actual))
            raise ModelInvalid(f"{found.__qualname__} does not match the schema of {name} in {differing}; {_REMEDY}")
        return found


def _field_of(part: Any, schema: dict[str, Any]) -> str:
    """Where a part of a schema stands, in words."""
    for node in walk(schema):
        if isinstance(node, dict) and node["type"] == "record":
            for field in node["fields"]:
                if any(each is part for each in walk(field["type"])):
                    return f" (field {field['name']!r} of {node['name']})"
    return ""


def _members(node: dict[str, Any]) -> set[str]:
    if node["type"] == "enum":
        return set(node["symbols"])
    return {attribute_of(field["name"]) for field in node["fields"]}


def _attributes(found: type) -> set[str]:
    if issubclass(found, Enum):
        return {str(member.value) for member in found}
    return {field.name for field in dataclasses.fields(found)} if dataclasses.is_dataclass(found) else set()
