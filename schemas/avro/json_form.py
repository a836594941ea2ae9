"""Payloads in JSON form, as people type them.

Records are objects, in which fields with a default may be left out; enums are their symbols; bytes are base64; decimals
are numbers or texts; dates, times and timestamps are ISO 8601 texts; a union takes the first branch that fits. What is
typed arrives exactly, or is refused: nothing is rounded but the fractions of floating-point fields.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn
from uuid import UUID

from schemas.avro.binding import Binding, logical_key
from schemas.avro.compiled.from_datum import enum_members
from schemas.avro.compiled.to_datum import DumperCompiler, Unfit
from schemas.errors import PayloadInvalid
from schemas.generator.names import attribute_of

Parse = Callable[[str], Any]


class Fraction(Decimal):
    """A number of JSON with a point or an exponent, as it was typed."""

    def __repr__(self) -> str:
        return str(self)


def parse(job_type: str, text: str) -> Any:
    """Parses a payload as it was typed, with every digit; raises PayloadInvalid, or ValueError where it is not JSON."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise PayloadInvalid(job_type, name, "a field or a key once", "it twice")
            found[name] = value
        return found

    def no_number(name: str) -> NoReturn:
        raise ValueError(f"{name} is no number of JSON")

    def whole(digits: str) -> int:
        if len(digits) > _LONGEST_WHOLE:
            raise ValueError(f"a whole number of {len(digits)} digits fits no type")
        return int(digits)

    def fraction(digits: str) -> Fraction:
        try:
            return Fraction(digits)
        except InvalidOperation:
            raise ValueError(f"{digits[:40]} has an exponent beyond all types") from None

    try:
        return json.loads(
            text.removeprefix("\ufeff"),
            parse_float=fraction, parse_int=whole, parse_constant=no_number, object_pairs_hook=once,
        )  # fmt: skip
    except RecursionError:
        raise PayloadInvalid(job_type, "", "a payload less deeply nested", "brackets within brackets") from None


#: Digits of a whole number, sign included: more than any decimal is likely to have. Python itself takes some thousands.
_LONGEST_WHOLE = 4_000


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
                return _logical(key.partition("-")[2], candidate, value)
        readers: Mapping[str, Callable[[Any, Any], Any]] = {
            "record": self._record,
            "enum": self._enum,
            "array": self._array,
            "map": self._map,
            "union": self._union,
            "bytes": _bytes,
            "fixed": _bytes,
            "float": _float,
            "double": _double,
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
        found = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Unfit("bytes in base64", value) from None
    if base64.b64encode(found).decode() != value:  # Bits that stand for nothing.
        raise Unfit(f"bytes in base64, such as {base64.b64encode(found).decode()!r}", value)
    return found


def _double(_: Any, value: Any) -> Any:
    return _floating(value, "a number of 64-bit floating point", float)


def _float(_: Any, value: Any) -> Any:
    return _floating(value, "a number of 32-bit floating point", _as_32_bits)


def _floating(value: Any, expected: str, nearest: Callable[[float], float]) -> Any:
    """A number that was typed; the nearest there is for a fraction, and exactly for a whole number."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Unfit(expected, value)
    try:
        found = float(value)
        kept = nearest(found)
    except OverflowError:
        raise Unfit(expected, value) from None
    if not math.isfinite(kept) or (kept == 0) != (value == 0):
        raise Unfit(expected, value)
    if isinstance(value, int) and int(kept) != value:
        raise Unfit(f"{expected}, which this whole number would be rounded to; the nearest is {int(kept)}", value)
    return found


def _as_32_bits(value: float) -> float:
    kept: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return kept


def _logical(name: str, node: Mapping[str, Any], value: Any) -> Any:
    parse, expected = _LOGICAL[name]
    if isinstance(value, bool) or not isinstance(value, str if name != "decimal" else str | int | float | Decimal):
        raise Unfit(expected, value)
    try:
        found = parse(str(value))
    except (ValueError, InvalidOperation, OverflowError):
        raise Unfit(expected, value) from None
    if isinstance(found, time) and found.tzinfo is not None:
        raise Unfit(f"{expected}, without a time zone", value)
    if isinstance(found, time | datetime):
        _check_digits(value, 3 if name.endswith("-millis") else 6)
    return found


def _check_digits(text: str, most: int) -> None:
    """Refuse parts of a second that would be cut off."""
    fraction = _PART_OF_SECOND.search(text)
    if fraction and len(fraction[1].rstrip("0")) > most:
        raise Unfit(f"a time with at most {most} digits of a second", text)


_PART_OF_SECOND = re.compile(r"[.,]([0-9]+)")

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
