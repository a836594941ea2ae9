"""Converters from model instances to the plain dicts that fastavro writes.

fastavro's writer is lenient: it writes 2^31 as an int, 1.5 as 1, "no" as true and "abc" as the array [a, b, c]. What it
lets through is checked here. Two sets are compiled: a quick one that checks only that, and a strict one that checks
everything and says where; it runs when the quick way has failed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from schemas.avro.binding import Binding, logical_key
from schemas.avro.compiled.from_datum import Convert, enum_members
from schemas.generator.names import attribute_of

_FLOAT_MAX = 3.4028234663852886e38


class Unfit(Exception):
    """Raised when a value does not fit its type; gathers the path to it on the way up."""

    def __init__(self, expected: str, got: object) -> None:
        super().__init__(expected, got)
        self.expected = expected
        self.got = got
        self.path = ""

    def or_none(self) -> None:
        """Say that None had fitted as well."""
        self.expected += " or None"

    def under(self, step: str) -> Unfit:
        """The same with one more step before its path."""
        joint = "" if not self.path or self.path.startswith("[") else "."
        self.path = f"{step}{joint}{self.path}"
        return self


class DumperCompiler:
    """Builds the function that turns a model instance into a datum for fastavro."""

    def __init__(self, binding: Binding, *, strict: bool) -> None:
        self._binding = binding
        self._strict = strict
        self._records: dict[str, Convert] = {}

    def compile(self) -> Convert:
        """The function from an instance of the model to a datum of the whole schema."""
        return self._record(self._binding.schema)

    def convert_of(self, node: Any) -> Convert:
        """The function for one type within the schema."""
        return self._convert(node) or _same

    def _convert(self, node: Any) -> Convert | None:
        for candidate in (node, resolved := self._binding.resolve(node)):
            if (key := logical_key(candidate)) is not None:
                return _logical(key, candidate)
        kind = self._binding.kind(resolved)
        complex_kinds: Mapping[str, Callable[[Any], Convert | None]] = {
            "record": self._record,
            "enum": self._enum,
            "array": self._array,
            "map": self._map,
            "union": self._union,
            "fixed": self._fixed,
        }
        if kind in complex_kinds:
            return complex_kinds[kind](resolved)
        return _STRICT[kind] if self._strict else _QUICK.get(kind)

    def _enum(self, node: Mapping[str, Any]) -> Convert:
        return _enum(self._binding.classes[node["name"]])

    def _fixed(self, node: Mapping[str, Any]) -> Convert | None:
        return _fixed(node["size"]) if self._strict else None

    def _record(self, node: Mapping[str, Any]) -> Convert:
        name = node["name"]
        if name in self._records:
            return self._records[name]
        self._records[name] = self._later(name)  # Used where a type contains itself.
        fields = [(field["name"], self._convert(field["type"])) for field in node["fields"]]
        model = self._binding.classes[name]
        self._records[name] = _strict_record(model, fields) if self._strict else _quick_record(fields)
        return self._records[name]

    def _later(self, name: str) -> Convert:
        def dump(value: Any) -> Any:
            return self._records[name](value)

        return dump

    def _array(self, node: Mapping[str, Any]) -> Convert:
        step = self._convert(node["items"])

        def dump(value: Any) -> Any:
            if not isinstance(value, list | tuple):
                raise Unfit("a list", value)
            # Always a list: fastavro takes a tuple within a union for the name of a branch.
            return list(value) if step is None else [_at(f"[{i}]", step, item) for i, item in enumerate(value)]

        return dump

    def _map(self, node: Mapping[str, Any]) -> Convert:
        step = self._convert(node["values"])

        def dump(value: Any) -> Any:
            if not isinstance(value, Mapping):
                raise Unfit("a dict", value)
            if step is None:
                return value
            return {_text(key): _at(f"[{key!r}]", step, item) for key, item in value.items()}

        return dump

    def _union(self, union: list[Any]) -> Convert | None:
        nullable = "null" in union
        branches = [branch for branch in union if branch != "null"]
        if len(branches) == 1:
            return _nullable(self._convert(branches[0])) if nullable else self._convert(branches[0])
        strict = DumperCompiler(self._binding, strict=True)
        choices = [(self._tag(branch), strict.convert_of(branch)) for branch in branches]
        return _choice(choices, nullable=nullable)

    def _tag(self, branch: Any) -> str:
        """Names the branch, which fastavro would guess otherwise: it takes a text that looks like a symbol for one."""
        node = self._binding.resolve(branch)
        return str(node["name"]) if isinstance(node, dict) and "name" in node else self._binding.kind(node)


def _at(step: str, convert: Convert, value: Any) -> Any:
    try:
        return convert(value)
    except Unfit as unfit:
        raise unfit.under(step) from None


def _quick_record(fields: list[tuple[str, Convert | None]]) -> Convert:
    # A dict display over attributes takes a third of the time of any loop. The source holds nothing but names of
    # fields, which Avro's grammar and the parser limit to identifiers.
    scope: dict[str, Any] = {f"_{name}": step for name, step in fields}
    items = (f"{name!r}: {_call(name, step)}" for name, step in fields)
    made: Convert = eval(f"lambda value: {{{', '.join(items)}}}", scope)  # noqa: S307
    return made


def _call(name: str, step: Convert | None) -> str:
    read = f"value.{attribute_of(name)}"
    return f"_{name}({read})" if step else read


def _strict_record(model: type, fields: list[tuple[str, Convert | None]]) -> Convert:
    def dump(value: Any) -> Any:
        if not isinstance(value, model):
            raise Unfit(f"an instance of {model.__qualname__}", value)
        return {name: _at(name, step or _same, getattr(value, attribute_of(name))) for name, step in fields}

    return dump


def _nullable(step: Convert | None) -> Convert | None:
    if step is None:
        return None

    def dump(value: Any) -> Any:
        if value is None:
            return None
        try:
            return step(value)
        except Unfit as unfit:
            if not unfit.path:
                unfit.or_none()
            raise

    return dump


def _choice(choices: list[tuple[str, Convert]], *, nullable: bool) -> Convert:
    def dump(value: Any) -> Any:
        if nullable and value is None:
            return None
        refused = ["None"] if nullable else []
        for name, step in choices:
            datum = _attempt(step, value)
            if not isinstance(datum, Unfit):
                return name, datum
            refused.insert(-1 if nullable else len(refused), datum.expected)
        raise Unfit(" or ".join(refused), value)

    return dump


def _attempt(step: Convert, value: Any) -> Any:
    try:
        return step(value)
    except Unfit as unfit:
        if unfit.path:
            raise  # The branch is right, something inside it is not.
        return unfit


def _enum(enum: type) -> Convert:
    symbols = {member: symbol for symbol, member in enum_members(enum).items()}
    expected = "one of " + ", ".join(str(member) for member in symbols)

    def dump(value: Any) -> Any:
        if type(value) is enum:
            return symbols[value]
        raise Unfit(expected, value)

    return dump


def _fixed(size: int) -> Convert:
    def dump(value: Any) -> Any:
        if isinstance(value, bytes | bytearray) and len(value) == size:
            return value
        raise Unfit(f"{size} bytes", value)

    return dump


def _same(value: Any) -> Any:
    return value


def _whole(bits: int) -> Convert:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    expected = f"a whole number of {bits} bits, {low} to {high}"

    def dump(value: Any) -> Any:
        if type(value) is int and low <= value <= high:
            return value
        raise Unfit(expected, value)

    return dump


def _float(value: Any) -> Any:
    if type(value) in {float, int} and (abs(value) <= _FLOAT_MAX or not math.isfinite(_as_float(value))):
        return value
    raise Unfit("a number of 32-bit floating point", value)


def _double(value: Any) -> Any:
    if type(value) in {float, int}:
        _as_float(value)
        return value
    raise Unfit("a number", value)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Unfit("a number of 64-bit floating point", value) from None


def _boolean(value: Any) -> Any:
    if type(value) is bool:
        return value
    raise Unfit("True or False", value)


def _null(value: Any) -> Any:
    if value is None:
        return value
    raise Unfit("None", value)


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise Unfit("a text (str)", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unfit("a text without lone surrogates", value) from None
    return value


def _bytes(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return value
    raise Unfit("bytes", value)


_QUICK: Mapping[str, Convert] = {
    "null": _null,
    "boolean": _boolean,
    "int": _whole(32),
    "long": _whole(64),
    "float": _float,
    "double": _double,
}
_STRICT: Mapping[str, Convert] = {**_QUICK, "string": _text, "bytes": _bytes}


def _logical(key: str, node: Mapping[str, Any]) -> Convert:
    name = key.partition("-")[2]
    if name == "decimal":
        return _decimal(node["precision"], node.get("scale", 0))
    fits, expected = _LOGICAL[name]

    def dump(value: Any) -> Any:
        if fits(value):
            return value
        raise Unfit(expected, value)

    return dump


def _decimal(precision: int, scale: int) -> Convert:
    expected = f"a Decimal of at most {precision} digits, {scale} of them after the point"

    def dump(value: Any) -> Any:
        if isinstance(value, Decimal) and value.is_finite():
            exponent = value.as_tuple().exponent
            whole = value.adjusted() + 1 if value else 0
            if isinstance(exponent, int) and -exponent <= scale and whole + scale <= precision:
                return value
        raise Unfit(expected, value)

    return dump


_Fits = Callable[[Any], bool]
# A naive datetime is refused as a timestamp: fastavro would read it in the time zone of this machine.
_AWARE: tuple[_Fits, str] = (lambda v: isinstance(v, datetime) and v.tzinfo is not None, "a datetime with a time zone")
_NAIVE: tuple[_Fits, str] = (lambda v: isinstance(v, datetime) and v.tzinfo is None, "a datetime without a time zone")
_TIME: tuple[_Fits, str] = (lambda v: isinstance(v, time), "a datetime.time")
_LOGICAL: Mapping[str, tuple[_Fits, str]] = {
    "timestamp-millis": _AWARE,
    "timestamp-micros": _AWARE,
    "local-timestamp-millis": _NAIVE,
    "local-timestamp-micros": _NAIVE,
    "date": (lambda v: isinstance(v, date) and not isinstance(v, datetime), "a datetime.date"),
    "time-millis": _TIME,
    "time-micros": _TIME,
    "uuid": (lambda v: isinstance(v, UUID), "a UUID"),
}
