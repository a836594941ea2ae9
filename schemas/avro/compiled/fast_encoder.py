"""Compiled encoders for the plain types of Avro: what most payloads are made of.

fastavro's writer interprets the schema anew for every value, which is most of the time publishing takes. Here each type
is compiled once into a function from a value to its bytes. Types that are seldom or subtle (floating point, fixed,
logical types, unions of several types, recursion) have none; fastavro writes the records that hold them.

The encoding is that of the Avro specification 1.12, "Binary Encoding"; tests hold it against fastavro's, byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from schemas.avro.binding import Binding, logical_key
from schemas.avro.compiled.from_datum import enum_members
from schemas.generator.names import attribute_of

Encode = Callable[[Any], bytes]


class NotPlain(Exception):
    """Raised when a type has no compiled encoder."""


def compile_encoder(binding: Binding, prefix: bytes) -> Encode | None:
    """The function from an instance of a model to prefix and body, or None where fastavro must write it.

    The function raises some exception for a payload that does not fit.
    """
    if binding.recursive:
        return None
    try:
        return _Compiler(binding).record(binding.schema, prefix)
    except NotPlain:
        return None


class _Compiler:
    def __init__(self, binding: Binding) -> None:
        self._binding = binding

    def record(self, node: Mapping[str, Any], prefix: bytes = b"") -> Encode:
        """One expression over the attributes takes a third of the time of any loop, see to_datum."""
        names = [field["name"] for field in node["fields"]]
        scope: dict[str, Any] = {f"_{field['name']}": self._encoder(field["type"]) for field in node["fields"]}
        parts = "".join(f"_{name}(value.{attribute_of(name)}), " for name in names)
        # No name can clash: those of fields start with an underscore here.
        source = f"lambda value: join((start, {parts}))"
        made: Encode = eval(source, {**scope, "join": b"".join, "start": prefix})  # noqa: S307
        return made

    def _encoder(self, node: Any) -> Encode:
        resolved = self._binding.resolve(node)
        if logical_key(node) is not None or logical_key(resolved) is not None:
            raise NotPlain
        kind = self._binding.kind(resolved)
        complex_kinds: Mapping[str, Callable[[Any], Encode]] = {
            "record": self.record,
            "enum": lambda node: _enum(self._binding.classes[node["name"]], node["symbols"]),
            "array": lambda node: _array(self._encoder(node["items"])),
            "map": lambda node: _map(self._encoder(node["values"])),
            "union": self._nullable,
        }
        if kind in complex_kinds:
            return complex_kinds[kind](resolved)
        if kind not in _PRIMITIVES:
            raise NotPlain
        return _PRIMITIVES[kind]

    def _nullable(self, union: list[Any]) -> Encode:
        branches = [branch for branch in union if branch != "null"]
        if len(union) != 2 or len(branches) != 1:
            raise NotPlain
        index, null = _varint(union.index(branches[0])), _varint(union.index("null"))
        encode = self._encoder(branches[0])
        return lambda value: null if value is None else index + encode(value)


def _long_varint(number: int) -> bytes:
    number = number << 1 if number >= 0 else (-number << 1) - 1
    septets = bytearray()
    while number > 0x7F:
        septets.append(number & 0x7F | 0x80)
        number >>= 7
    septets.append(number)
    return bytes(septets)


_SHORT_END = 8_192
_SHORT = tuple(map(_long_varint, range(_SHORT_END)))  # All that take two bytes at most: nearly every length there is.


def _varint(number: int) -> bytes:
    return _SHORT[number] if 0 <= number < _SHORT_END else _long_varint(number)


def _string(value: Any) -> bytes:
    encoded = str.encode(value)
    size = len(encoded)
    # Every text comes by here: a call less is a tenth of its time.
    return (_SHORT[size] if size < _SHORT_END else _long_varint(size)) + encoded


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(value)
    plain = bytes(value)
    return _varint(len(plain)) + plain


def _whole(bits: int) -> Encode:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1

    def encode(value: Any) -> bytes:
        if type(value) is not int or not low <= value <= high:
            raise TypeError(value)
        return _varint(value)

    return encode


def _boolean(value: Any) -> bytes:
    if type(value) is not bool:
        raise TypeError(value)
    return b"\x01" if value else b"\x00"


def _enum(enum: type, symbols: list[str]) -> Encode:
    encoded = {member: _varint(symbols.index(symbol)) for symbol, member in enum_members(enum).items()}

    def encode(value: Any) -> bytes:
        if type(value) is not enum:
            raise TypeError(value)
        return encoded[value]

    return encode


def _array(encode: Encode) -> Encode:
    def encode_all(value: Any) -> bytes:
        if not isinstance(value, list | tuple):
            raise TypeError(value)
        return b"".join((_varint(len(value)), *map(encode, value), b"\x00")) if value else b"\x00"

    return encode_all


def _map(encode: Encode) -> Encode:
    def encode_all(value: Any) -> bytes:
        if not isinstance(value, Mapping):
            raise TypeError(value)
        if not value:
            return b"\x00"
        return b"".join((_varint(len(value)), *(_string(key) + encode(item) for key, item in value.items()), b"\x00"))

    return encode_all


_PRIMITIVES: Mapping[str, Encode] = {
    "string": _string,
    "bytes": _bytes,
    "int": _whole(32),
    "long": _whole(64),
    "boolean": _boolean,
}
