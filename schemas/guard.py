"""Keeps hostile bytes from hanging or crashing the process.

fastavro's compiled reader bounds lengths and counts by the bytes there are, with two exceptions, both measured: an
array of items that take no bytes may claim 2^60 of them in nine bytes and is then read for years, and a recursive type
is read by recursion in C, which a few kilobytes drive over the end of the stack. So the first kind of schema is
refused, and values of the second are walked in Python, where depth is counted, before fastavro sees them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from schemas.errors import CorruptPayload, TruncatedPayload

MAX_DEPTH = 64

_Names = dict[str, Any]
_FIXED_WIDTH = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_COMPLEX = frozenset({"record", "enum", "fixed", "array", "map"})
_VARIABLE_WIDTH = frozenset({"int", "long", "bytes", "string", "enum"})


def hazard(schema: dict[str, Any]) -> str | None:
    """Why a parsed schema may not be decoded with at all, or None."""
    names = named_types(schema)
    for name, array in _arrays(schema):
        if _may_be_empty(array["items"], names, ()):
            return (
                f"{name}: an array's items may not take zero bytes, since then nothing bounds their number; use a count"
            )
    return None


def is_recursive(schema: dict[str, Any]) -> bool:
    """Whether a type contains itself."""
    names = named_types(schema)

    def enters(node: Any, above: tuple[str, ...]) -> bool:
        node = plain(node, names)
        if kind_of(node) == "record":
            if node["name"] in above:
                return True
            above = (*above, node["name"])
        return any(enters(child, above) for child in _children(node))

    return enters(schema, ())


class DepthCheck:
    """Walks values of one recursive schema and refuses those nested deeper than MAX_DEPTH records."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._names = named_types(schema)

    def __call__(self, value: bytes, start: int) -> None:
        """Raises CorruptPayload when the body that starts at `start` is nested too deeply or ends early."""
        self._skip(self._schema, value, start, 0)

    def _skip(self, node: Any, value: bytes, at: int, depth: int) -> int:
        node = plain(node, self._names)
        kind = kind_of(node)
        if kind == "record":
            return self._skip_record(node, value, at, depth + 1)
        if kind in {"array", "map"}:
            return self._skip_blocks(node, value, at, depth)
        if kind == "union":
            index, at = _varint(value, at)
            if not 0 <= index < len(node):
                raise CorruptPayload(f"byte {at}: no branch {index} in a union of {len(node)}")
            return self._skip(node[index], value, at, depth)
        return self._skip_leaf(kind, node, value, at)

    @staticmethod
    def _skip_leaf(kind: str, node: Any, value: bytes, at: int) -> int:
        if kind in _VARIABLE_WIDTH:
            number, at = _varint(value, at)
            end = at + number if kind in {"bytes", "string"} else at
        else:
            end = at + (node["size"] if kind == "fixed" else _FIXED_WIDTH[kind])
        if not at <= end <= len(value):
            raise TruncatedPayload(f"the value ends at byte {len(value)}, its payload at byte {end}")
        return end

    def _skip_record(self, node: Mapping[str, Any], value: bytes, at: int, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise CorruptPayload(f"byte {at}: records nested deeper than {MAX_DEPTH}")
        for field in node["fields"]:
            at = self._skip(field["type"], value, at, depth)
        return at

    def _skip_blocks(self, node: Mapping[str, Any], value: bytes, at: int, depth: int) -> int:
        while True:
            count, at = _varint(value, at)
            if count == 0:
                return at
            if count < 0:
                count = -count
                _, at = _varint(value, at)
            for _ in range(count):  # Every item takes a byte at least, see hazard(), so the bytes bound the loop.
                if node["type"] == "map":
                    at = self._skip("string", value, at, depth)
                at = self._skip(node["items"] if node["type"] == "array" else node["values"], value, at, depth)


def _varint(value: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    for position in range(at, min(at + 10, len(value))):
        byte = value[position]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), position + 1
        shift += 7
    if len(value) - at < 10:
        raise TruncatedPayload(f"the value ends at byte {len(value)}, within a number")
    raise CorruptPayload(f"byte {at}: a number longer than 10 bytes")


def plain(node: Any, names: _Names) -> Any:
    """Follows names and needless wrappers, such as {"type": {"type": "string"}}, to the type itself."""
    while True:
        if isinstance(node, str) and node in names:
            node = names[node]
        elif isinstance(node, dict) and not (isinstance(node["type"], str) and node["type"] in _COMPLEX):
            node = node["type"]
        else:
            return node


def kind_of(node: Any) -> str:
    """The kind of a plain type: a primitive's name, record, enum, fixed, array, map or union."""
    if isinstance(node, str):
        return node
    return "union" if isinstance(node, list) else str(node["type"])


def _children(node: Any) -> list[Any]:
    if isinstance(node, list):
        return node
    if not isinstance(node, dict):
        return []
    if node["type"] == "record":
        return [field["type"] for field in node["fields"]]
    if node["type"] in {"array", "map"}:
        return [node["items" if node["type"] == "array" else "values"]]
    return [node["type"]] if isinstance(node["type"], dict | list) else []


def walk(node: Any) -> Iterator[Any]:
    """Every node of a parsed schema: dicts, unions (lists) and names, without following names."""
    yield node
    for child in _children(node):
        yield from walk(child)


def named_types(schema: Any) -> dict[str, Any]:
    """The records, enums and fixeds that a parsed schema defines, by full name."""
    return {node["name"]: node for node in walk(schema) if isinstance(node, dict) and "name" in node}


def _arrays(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict) and schema["type"] == "record":
        for field in schema["fields"]:
            yield from _arrays(field["type"], f"{path}.{field['name']}" if path else field["name"])
        return
    if isinstance(schema, dict) and schema["type"] == "array":
        yield path, schema
    for child in _children(schema):
        yield from _arrays(child, path)


def _may_be_empty(node: Any, names: _Names, above: tuple[str, ...]) -> bool:
    """Whether some value of a type takes no bytes; a union takes one for its index, an array one for its end."""
    node = plain(node, names)
    kind = kind_of(node)
    if kind == "record":
        # A record that has itself for a field has no finite value, so what is above adds nothing.
        inside = (*above, node["name"])
        return node["name"] not in above and all(
            _may_be_empty(field["type"], names, inside) for field in node["fields"]
        )
    return kind == "null" or (kind == "fixed" and node["size"] == 0)
