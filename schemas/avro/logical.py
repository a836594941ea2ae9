"""Logical types: which of them have values in common, and how a value of one becomes exactly that of another.

Two logical types of one *family* say the same in other units: `timestamp-millis` and `timestamp-micros`, or decimals of
different scales. Between families nothing is converted, since nobody can say what it would mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from fastavro.read import LOGICAL_READERS

Convert = Callable[[Any], Any]

_FAMILIES: Mapping[tuple[str, str], str] = {
    ("long", "timestamp-millis"): "timestamp",
    ("long", "timestamp-micros"): "timestamp",
    ("long", "timestamp-nanos"): "timestamp",
    ("long", "local-timestamp-millis"): "local-timestamp",
    ("long", "local-timestamp-micros"): "local-timestamp",
    ("long", "local-timestamp-nanos"): "local-timestamp",
    ("int", "time-millis"): "time",
    ("long", "time-micros"): "time",
    ("int", "date"): "date",
    ("bytes", "decimal"): "decimal",
    ("fixed", "decimal"): "decimal",
    ("string", "uuid"): "uuid",
    ("fixed", "uuid"): "uuid",
}


class Misfit(ValueError):
    """Raised when a value cannot be had exactly."""


def family_of(node: Any) -> str | None:
    """The family of a type's logical type; None for one that has none, or none that Avro's specification knows."""
    if not isinstance(node, dict) or not isinstance(node.get("logicalType"), str):
        return None
    family = _FAMILIES.get((str(node["type"]), node["logicalType"]))
    return family if family != "decimal" or is_decimal(node) else None


def is_decimal(node: Any) -> bool:
    """Whether precision and scale are those of a decimal; with others it is none, says the specification."""
    precision, scale = node.get("precision"), node.get("scale", 0)
    return type(precision) is int and type(scale) is int and 0 <= scale <= precision and precision > 0


def shown(node: Any) -> str:
    """A logical type in words, such as decimal(10, 2)."""
    name = str(node["logicalType"])
    return f"decimal({node['precision']}, {node.get('scale', 0)})" if name == "decimal" else name


def keeps_every_value(writer: Any, reader: Any) -> bool:
    """Whether every Avro library reads every value of one type as the same value of the other."""
    of_writer, of_reader = family_of(writer), family_of(reader)
    if of_writer is None or of_reader is None:
        return of_writer == of_reader or (of_writer == "uuid" and writer["type"] == "string")
    if of_writer == of_reader == "decimal":
        same_scale = writer.get("scale", 0) == reader.get("scale", 0)
        return bool(same_scale and writer["type"] == reader["type"] and writer["precision"] <= reader["precision"])
    return bool(shown(writer) == shown(reader) and writer["type"] == reader["type"])


def reading(node: Any) -> Convert:
    """The function from what was written to the value of a logical type; raises whatever for what is none."""
    kind, name = str(node["type"]), str(node["logicalType"])
    if name == "decimal":
        return _decimal(node)
    if kind == "fixed":
        return lambda raw: UUID(bytes=raw)
    if name.endswith("-nanos"):
        read_micros = LOGICAL_READERS[f"long-{name.removesuffix('nanos')}micros"]
        return lambda raw: read_micros(_micros(raw), node, None)
    read = LOGICAL_READERS[f"{kind}-{name}"]
    return lambda raw: read(raw, node, None)


def _micros(nanos: int) -> int:
    micros, rest = divmod(nanos, 1000)
    if rest:
        raise Misfit(f"{nanos} ns is no whole number of microseconds, and Python's times have no more digits")
    return micros


def _decimal(node: Any) -> Convert:
    scale = node.get("scale", 0)

    def read(raw: bytes) -> Decimal:
        unscaled = int.from_bytes(raw, "big", signed=True)
        return Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))  # Exact in any context.

    return read


def fitting(node: Any) -> Convert | None:
    """The function that makes a value of a type's family fit the type, or raises Misfit; None where all do."""
    if node["logicalType"] != "decimal":
        return None
    precision, scale = node["precision"], node.get("scale", 0)

    def fit(value: Decimal) -> Decimal:
        sign, digits, exponent = value.as_tuple()
        unscaled = int("".join(map(str, digits)))
        shift = int(exponent) + scale
        unscaled, rest = (unscaled * 10**shift, 0) if shift >= 0 else divmod(unscaled, 10**-shift)
        if rest or len(str(unscaled)) > precision:
            raise Misfit(f"{value} does not fit {shown(node)}")
        return Decimal((sign, tuple(map(int, str(unscaled))), -scale))

    return fit
