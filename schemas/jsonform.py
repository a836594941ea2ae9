"""Payloads in JSON form, as people type them.

Records are objects, in which fields with a default may be left out; enums are their symbols; bytes are base64; decimals
are numbers or texts; dates, times and timestamps are ISO 8601 texts; a union takes the first branch that fits.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from schemas.binding import Binding, logical_key
from schemas.dump import DumperCompiler, Unfit
from schemas.errors import PayloadInvalid
from schemas.load import enum_members
from schemas.model_names import attribute_of

Parse = Callable[[str], Any]


def from_json(binding: Binding, fields: Any) -> Any:
    """A model instance from a parsed JSON object; raises PayloadInvalid, which names the field."""
    try:
        instance = _JsonReader(binding).read(binding.schema, fields)
        DumperCompiler(binding, strict=True).compile()(instance)
    except Unfit as unfit:
        raise PayloadInvalid(binding.name(), unfit.path, unfit.expected, unfit.got) from None
    except RecursionError:
        raise PayloadInvalid(binding.name(), "", "a payload less deeply nested", fields) from None
    return instance


class _JsonReader:
    """Follows the schema through a JSON value. What it lets through is still checked by the strict dumper."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding

    def read(self, node: Any, value: Any) -> Any:
        resolved = self._binding.resolve(node)
        for candidate in (node, resolved):
            if (key := logical_key(candidate)) is not None:
                return _logical(key.partition("-")[2], value)
        readers: Mapping[str, Callable[[Any, Any], Any]] = {
            "record": self._record,
            "enum": self._enum,
            "array": self._array,
            "map": self._map,
            "union": self._union,
            "bytes": _bytes,
            "fixed": _bytes,
        }
        read = readers.get(self._binding.kind(resolved))
        return value if read is None else read(resolved, value)

    def _record(self, node: Mapping[str, Any], value: Any) -> Any:
        types = {field["name"]: field["type"] for field in node["fields"]}
        required = [field["name"] for field in node["fields"] if "default" not in field]
        if not isinstance(value, dict):
            raise Unfit(f"an object with the fields {', '.join(types)}", value)
        for name in value:
            if name not in types:
                raise Unfit(f"one of the fields {', '.join(types)}", name).under(name)
        for name in required:
            if name not in value:
                raise Unfit("a value, since it has no default", None).under(name)
        model = self._binding.classes[node["name"]]
        return model(**{attribute_of(name): self._at(name, types[name], value[name]) for name in value})

    def _enum(self, node: Mapping[str, Any], value: Any) -> Any:
        members = enum_members(self._binding.classes[node["name"]])
        if not isinstance(value, str) or value not in members:
            raise Unfit(f"one of {', '.join(members)}", value)
        return members[value]

    def _array(self, node: Mapping[str, Any], value: Any) -> Any:
        if not isinstance(value, list):
            raise Unfit("a list", value)
        return [self._at(f"[{index}]", node["items"], item) for index, item in enumerate(value)]

    def _map(self, node: Mapping[str, Any], value: Any) -> Any:
        if not isinstance(value, dict):
            raise Unfit("an object", value)
        return {key: self._at(f"[{key!r}]", node["values"], item) for key, item in value.items()}

    def _union(self, node: list[Any], value: Any) -> Any:
        refused: list[Unfit] = []
        for branch in node:
            found = self._attempt(branch, value)
            if not isinstance(found, Unfit):
                return found
            refused.append(found)
        deeper = [unfit for unfit in refused if unfit.path]
        raise deeper[0] if deeper else Unfit(" or ".join(unfit.expected for unfit in refused), value)

    def _attempt(self, branch: Any, value: Any) -> Any:
        try:
            found = self.read(branch, value)
            (DumperCompiler(self._binding, strict=True).convert_of(branch))(found)
        except Unfit as unfit:
            return unfit
        return found

    def _at(self, step: str, node: Any, value: Any) -> Any:
        try:
            return self.read(node, value)
        except Unfit as unfit:
            raise unfit.under(step) from None


def _bytes(_: Any, value: Any) -> Any:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Unfit("bytes in base64", value) from None


def _logical(name: str, value: Any) -> Any:
    parse, expected = _LOGICAL[name]
    if isinstance(value, bool) or not isinstance(value, str if name != "decimal" else str | int | float):
        raise Unfit(expected, value)
    try:
        return parse(str(value))
    except (ValueError, InvalidOperation):
        raise Unfit(expected, value) from None


_TIMESTAMP: tuple[Parse, str] = (datetime.fromisoformat, "a time such as 2026-01-31T08:15:30Z")
_LOCAL: tuple[Parse, str] = (datetime.fromisoformat, "a time without a zone, such as 2026-01-31T08:15:30")
_TIME: tuple[Parse, str] = (time.fromisoformat, "a time of day such as 08:15:30")
_LOGICAL: Mapping[str, tuple[Parse, str]] = {
    "timestamp-millis": _TIMESTAMP,
    "timestamp-micros": _TIMESTAMP,
    "local-timestamp-millis": _LOCAL,
    "local-timestamp-micros": _LOCAL,
    "date": (date.fromisoformat, "a date such as 2026-01-31"),
    "time-millis": _TIME,
    "time-micros": _TIME,
    "uuid": (UUID, "a UUID"),
    "decimal": (Decimal, "a decimal number"),
}
