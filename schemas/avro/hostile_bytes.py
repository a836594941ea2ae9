"""Keeps hostile bytes from hanging or crashing the process.

fastavro's compiled reader bounds lengths and counts by the bytes there are, with two exceptions, both measured: an
array of items that take no bytes may claim 2^60 of them in nine bytes and is then read for years, and a recursive type
is read by recursion in C, which a few kilobytes drive over the end of the stack. So the first kind of schema is
refused, and values of the second are walked in Python, where depth is counted, before fastavro sees them; as are those
that are large enough for more items than a payload may have. Schemas come from others, too: each type of one is looked
at once, and one that stands for too many types is refused before anything is compiled from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from schemas.avro.schema_nodes import Names, children, kind_of, named_types, plain
from schemas.errors import AboveBounds, CorruptPayload, TruncatedPayload
from schemas.limits import DEFAULT_LIMITS, Limits

_FIXED_WIDTH = {"null": 0, "boolean": 1, "float": 4, "double": 8}


_VARIABLE_WIDTH = frozenset({"int", "long", "bytes", "string", "enum"})


#: Types within types, those behind a name too: what reads them does so by recursion.
_NESTING = 200


def hazard(schema: dict[str, Any], limits: Limits = DEFAULT_LIMITS) -> str | None:
    """Why a parsed schema may not be decoded with at all, or None; raises RecursionError for one that is too deep."""
    names = named_types(schema)
    nodes, depth = _unfolded(schema, names, {})
    if nodes > limits.schema_nodes:
        most = f"STREAMS_MAX_SCHEMA_NODES={limits.schema_nodes}"
        return f"it has more than {most} types, each counted as often as it is used"
    if depth > _NESTING:
        return f"its types are nested {depth} deep, and {_NESTING} is the most"
    empty: dict[str, bool] = {}
    for name, array in _arrays(schema):
        if _may_be_empty(array["items"], names, empty):
            return (
                f"{name}: an array's items may not take zero bytes, since then nothing bounds their number; use a count"
            )
    return None


def _unfolded(node: Any, names: Names, known: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """How many types there are with each that is named in the place of its name, and how deep they are nested.

    Each named type is looked at once: 30 of them may stand for 2^30. One that contains itself is cut there.
    """
    node = plain(node, names)
    name = node["name"] if isinstance(node, dict) and "name" in node else None
    if name in known:
        return known[name]
    if name is not None:
        known[name] = (1, 1)
    inside = [_unfolded(child, names, known) for child in children(node)]
    found = 1 + sum(nodes for nodes, _ in inside), 1 + max((depth for _, depth in inside), default=0)
    if name is not None:
        known[name] = found
    return found


class BoundsCheck:
    """Walks values of one schema and refuses those with more items or deeper records than the limits say."""

    def __init__(self, schema: dict[str, Any], limits: Limits) -> None:
        self._schema = schema
        self._names = named_types(schema)
        self._limits = limits

    def __call__(self, value: bytes, start: int) -> None:
        """Raises AboveBounds, or CorruptPayload when the body that starts at `start` ends early."""
        _Walk(self._names, self._limits).skip(self._schema, value, start, 0)


class _Walk:
    """One walk through a value."""

    def __init__(self, names: Names, limits: Limits) -> None:
        self._names = names
        self._limits = limits
        self._items = 0

    def skip(self, node: Any, value: bytes, at: int, depth: int) -> int:
        """Where what begins at a position ends."""
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
            return self.skip(node[index], value, at, depth)
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
        if depth > self._limits.depth:
            raise AboveBounds(f"byte {at}: records nested deeper than STREAMS_MAX_DEPTH={self._limits.depth}")
        for field in node["fields"]:
            at = self.skip(field["type"], value, at, depth)
        return at

    def _skip_blocks(self, node: Mapping[str, Any], value: bytes, at: int, depth: int) -> int:
        while True:
            count, at = _varint(value, at)
            if count == 0:
                return at
            if count < 0:
                count = -count
                _, at = _varint(value, at)
            self._items += count
            if self._items > self._limits.items:
                raise AboveBounds(
                    f"byte {at}: {self._items:,} items and more, where STREAMS_MAX_ITEMS={self._limits.items}"
                )
            for _ in range(count):  # Every item takes a byte at least, see hazard(), so the bytes bound the loop.
                if node["type"] == "map":
                    at = self.skip("string", value, at, depth)
                at = self.skip(node["items"] if node["type"] == "array" else node["values"], value, at, depth)


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


def _arrays(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict) and schema["type"] == "record":
        for field in schema["fields"]:
            yield from _arrays(field["type"], f"{path}.{field['name']}" if path else field["name"])
        return
    if isinstance(schema, dict) and schema["type"] == "array":
        yield path, schema
    for child in children(schema):
        yield from _arrays(child, path)


def _may_be_empty(node: Any, names: Names, known: dict[str, bool]) -> bool:
    """Whether some value of a type takes no bytes; a union takes one for its index, an array one for its end."""
    node = plain(node, names)
    kind = kind_of(node)
    if kind == "record":
        name = node["name"]
        if name not in known:
            # A record that has itself for a field has no finite value.
            known[name] = False
            known[name] = all(_may_be_empty(field["type"], names, known) for field in node["fields"])
        return known[name]
    return kind == "null" or (kind == "fixed" and node["size"] == 0)
