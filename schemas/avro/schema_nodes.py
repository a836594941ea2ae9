"""The types within a parsed schema: their kinds, their names, and which lie in which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Names = dict[str, Any]


_COMPLEX = frozenset({"record", "enum", "fixed", "array", "map"})


def is_recursive(schema: dict[str, Any]) -> bool:
    """Whether a type contains itself."""
    names = named_types(schema)
    # Of each named type, whether it contains itself; those that are being looked at are above.
    known: dict[str, bool] = {}

    def enters(node: Any) -> bool:
        node = plain(node, names)
        if kind_of(node) != "record":
            return any(enters(child) for child in children(node))
        if (name := node["name"]) not in known:
            known[name] = True
            known[name] = any(enters(child) for child in children(node))
        return known[name]

    return enters(schema)


def plain(node: Any, names: Names) -> Any:
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


def children(node: Any) -> list[Any]:
    """The types directly within a type."""
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
    for child in children(node):
        yield from walk(child)


def named_types(schema: Any) -> dict[str, Any]:
    """The records, enums and fixeds that a parsed schema defines, by full name."""
    return {node["name"]: node for node in walk(schema) if isinstance(node, dict) and "name" in node}
