"""Values of Avro types as Python source: the defaults of a schema's fields."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from schemas.avro.logical import family_of, reading
from schemas.avro.schema_nodes import kind_of, plain
from schemas.errors import SchemaInvalid
from schemas.generator.names import attribute_of, member_of


def quoted(text: str) -> str:
    """A text as Python source, readable, whatever is in it."""
    source = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escaped(char) for char in source)


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class ValueSource:
    """Writes defaults, which a schema has in JSON, as expressions of their types' Python values.

    named    records, enums and fixeds by full name
    classes  the class of each of them
    refer    how the module calls something that it imports, or that is built in
    """

    def __init__(self, named: Mapping[str, Any], classes: Mapping[str, str], refer: Callable[[str], str]) -> None:
        self._named, self._classes, self._refer = dict(named), classes, refer

    def write(self, node: Any, value: Any, path: str) -> str:
        """The expression; raises SchemaInvalid for a default that is no value of its type."""
        if family_of(node):
            return self._logical(node, value, path)
        node = plain(node, self._named)
        if family_of(node):
            return self._logical(node, value, path)
        return self._kinds[kind_of(node)](self, node, value, path)

    def _plain(self, node: Any, value: Any, path: str) -> str:
        kind = kind_of(node)
        fits, show = _PLAIN[kind]
        if not fits(value):
            raise _no_value(path, kind, value)
        return show(value)

    def _logical(self, node: Any, value: Any, path: str) -> str:
        kind = str(node["type"])
        fits, _ = _PLAIN[kind]
        if not fits(value):
            raise _no_value(path, f"{kind} ({node['logicalType']})", value)
        try:
            found = reading(node)(value.encode("latin-1") if kind in {"bytes", "fixed"} else value)
        except Exception as error:
            raise _no_value(path, f"{kind} ({node['logicalType']})", value) from error
        return self._literal(found)

    def _literal(self, found: Any) -> str:
        if isinstance(found, Decimal | UUID):
            return f"{self._refer(type(found).__name__)}({quoted(str(found))})"
        for kind in (datetime.datetime, datetime.date, datetime.time):
            if isinstance(found, kind):
                return f"{self._refer(kind.__name__)}.fromisoformat({quoted(found.isoformat())})"
        return quoted(found)

    def _enum(self, node: Any, value: Any, path: str) -> str:
        if value not in node["symbols"]:
            raise _no_value(path, f"{node['name']} ({', '.join(node['symbols'])})", value)
        return f"{self._classes[node['name']]}.{member_of(value)}"

    def _array(self, node: Any, value: Any, path: str) -> str:
        if not isinstance(value, list):
            raise _no_value(path, "array", value)
        return f"[{', '.join(self.write(node['items'], item, f'{path}[]') for item in value)}]"

    def _map(self, node: Any, value: Any, path: str) -> str:
        if not isinstance(value, dict):
            raise _no_value(path, "map", value)
        items = (f"{quoted(key)}: {self.write(node['values'], item, f'{path}[]')}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"

    def _record(self, node: Any, value: Any, path: str) -> str:
        fields = {field["name"]: field for field in node["fields"]}
        if not isinstance(value, dict) or not value.keys() <= fields.keys():
            raise _no_value(path, f"record with the fields {', '.join(fields)}", value)
        missing = [name for name, field in fields.items() if name not in value and "default" not in field]
        if missing:
            raise _no_value(path, f"record with a field {missing[0]!r}", value)
        given = (
            f"{attribute_of(name)}={self.write(fields[name]['type'], part, f'{path}.{name}')}"
            for name, part in value.items()
        )
        return f"{self._classes[node['name']]}({', '.join(given)})"

    def _union(self, union: Any, value: Any, path: str) -> str:
        refused: list[SchemaInvalid] = []
        for branch in union:
            try:
                return self.write(branch, value, path)
            except SchemaInvalid as error:
                refused.append(error)
        raise refused[0] if refused else _no_value(path, "union", value)

    _kinds: Mapping[str, Callable[[ValueSource, Any, Any, str], str]] = {
        **dict.fromkeys(
            ("null", "boolean", "int", "long", "float", "double", "string", "bytes", "fixed"), _plain
        ),
        "enum": _enum, "array": _array, "map": _map, "record": _record, "union": _union,
    }  # fmt: skip


def _no_value(path: str, expected: str, value: Any) -> SchemaInvalid:
    return SchemaInvalid(f"field {path!r}: its default {_short(value)} is no {expected}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_number(value: Any) -> bool:
    try:
        return type(value) in {int, float} and math.isfinite(float(value))
    except OverflowError:
        return False


def _is_bytes(value: Any) -> bool:
    return isinstance(value, str) and all(ord(char) < 0x100 for char in value)


def _bytes(value: str) -> str:
    return "b" + "".join(_byte(code) for code in value.encode("latin-1")).join('""')


def _byte(code: int) -> str:
    return chr(code) if 0x20 <= code < 0x7F and chr(code) not in {'"', "\\"} else f"\\x{code:02x}"


_PLAIN: Mapping[str, tuple[Callable[[Any], bool], Callable[[Any], str]]] = {
    "null": (lambda value: value is None, repr),
    "boolean": (lambda value: type(value) is bool, repr),
    "int": (lambda value: type(value) is int, repr),
    "long": (lambda value: type(value) is int, repr),
    "float": (_is_number, lambda value: repr(float(value))),
    "double": (_is_number, lambda value: repr(float(value))),
    "string": (lambda value: isinstance(value, str), quoted),
    "bytes": (_is_bytes, _bytes),
    "fixed": (_is_bytes, _bytes),
}
