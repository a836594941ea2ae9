"""Compiled decoders for the plain types of Avro: what most payloads are made of.

fastavro's reader interprets the schema anew for every value, which is the greatest part of what a job costs a worker.
Here each type is compiled once into the source of a function. It takes only what is beyond doubt: whatever looks odd
(a negative length, a number of many bytes, a value that ends too soon) makes it raise, and fastavro reads the value
again and has the last word. Types that are seldom or subtle have no decoder at all.

The encoding is that of the Avro specification 1.12, "Binary Encoding"; tests hold it against fastavro's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct
from textwrap import indent
from typing import Any

from schemas.avro.binding import Binding, logical_key
from schemas.avro.compiled.fast_encoder import NotPlain
from schemas.avro.compiled.from_datum import enum_members, keeps_fields_in_dict
from schemas.generator.names import attribute_of

Decode = Callable[[bytes], Any]


class Odd(Exception):
    """Raised by a decoder for a value that fastavro must look at."""


def compile_decoder(binding: Binding, start: int) -> Decode | None:
    """The function from a value, whose body begins at `start`, to an instance, or None where fastavro must read it.

    The function raises some exception for a value that is not beyond doubt.
    """
    if binding.recursive:
        return None
    try:
        return _Compiler(binding).whole(start)
    except NotPlain:
        return None


class _Compiler:
    """Writes one function a record, array or map, and code in line for what they hold.

    In all of them `value` is the bytes and `at` the position; source holds names of fields only as quoted text.
    """

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._scope: dict[str, Any] = {
            "Odd": Odd,
            "varint": _varint,
            "new": object.__new__,
            "assign": object.__setattr__,
            "unpack_float": Struct("<f").unpack_from,
            "unpack_double": Struct("<d").unpack_from,
        }

    def whole(self, start: int) -> Decode:
        """The function for the whole schema."""
        body = self._record_body(self._binding.schema)
        source = f"at = {start}\n{body}if at != len(value): raise Odd\nreturn result\n"
        decode: Decode = self._define("decode", "value", source)
        return decode

    def _define(self, name: str, parameters: str, body: str) -> Any:
        exec(f"def {name}({parameters}):\n{indent(body, '    ')}", self._scope)  # noqa: S102 - see the class
        return self._scope[name]

    def _keep(self, kind: str, thing: Any) -> str:
        name = f"{kind}{len(self._scope)}"
        self._scope[name] = thing
        return name

    def _function(self, kind: str, body: str) -> str:
        """Define a function from `value` and `at` to `result` and `at`. Returns its name."""
        name = self._keep(kind, None)
        self._define(name, "value, at", f"{body}return result, at\n")
        return name

    def _record_body(self, node: Mapping[str, Any]) -> str:
        model = self._binding.classes[node["name"]]
        if not keeps_fields_in_dict(model):
            raise NotPlain
        code = [self._into(f"f{number}", field["type"]) for number, field in enumerate(node["fields"])]
        items = ", ".join(f"{attribute_of(field['name'])!r}: f{n}" for n, field in enumerate(node["fields"]))
        return f"{''.join(code)}result = new({self._keep('model', model)})\nassign(result, '__dict__', {{{items}}})\n"

    def _into(self, target: str, node: Any) -> str:
        """Code that reads a type at `at` into a variable, and moves `at` behind it."""
        resolved = self._binding.resolve(node)
        if logical_key(node) is not None or logical_key(resolved) is not None:
            raise NotPlain
        kind = self._binding.kind(resolved)
        complex_kinds: Mapping[str, Callable[[str, Any], str]] = {
            "record": lambda target, node: self._call(target, "record", self._record_body(node)),
            "enum": self._enum,
            "array": self._array,
            "map": self._map,
            "union": self._nullable,
        }
        if kind in complex_kinds:
            return complex_kinds[kind](target, resolved)
        if kind not in _PRIMITIVES:
            raise NotPlain
        return _PRIMITIVES[kind].replace("TARGET", target)

    def _call(self, target: str, kind: str, body: str) -> str:
        return f"{target}, at = {self._function(kind, body)}(value, at)\n"

    def _enum(self, target: str, node: Mapping[str, Any]) -> str:
        members = enum_members(self._binding.classes[node["name"]])
        symbols = self._keep("symbols", tuple(members[symbol] for symbol in node["symbols"]))
        return f"{_LENGTH}{target} = {symbols}[n >> 1]\n"

    def _nullable(self, target: str, union: list[Any]) -> str:
        branches = [branch for branch in union if branch != "null"]
        if len(union) != 2 or len(branches) != 1:
            raise NotPlain
        null, other = 2 * union.index("null"), 2 * union.index(branches[0])
        read = indent(self._into(target, branches[0]), "    ")
        return (
            f"n = value[at]\nat += 1\nif n == {null}:\n    {target} = None\n"
            f"elif n == {other}:\n{read}else:\n    raise Odd\n"
        )

    def _array(self, target: str, node: Mapping[str, Any]) -> str:
        read = self._into("item", node["items"]) + "result.append(item)\n"
        return self._call(target, "array", _blocks("[]", read))

    def _map(self, target: str, node: Mapping[str, Any]) -> str:
        read = self._into("key", "string") + self._into("item", node["values"]) + "result[key] = item\n"
        return self._call(target, "map", _blocks("{}", read))


def _blocks(empty: str, read: str) -> str:
    """Code for a sequence of blocks: each opens with how many items it has, and the last has none."""
    loop = f"{_LENGTH}if not n:\n    break\nfor _ in range(n >> 1):\n{indent(read, '    ')}"
    return f"result = {empty}\nwhile True:\n{indent(loop, '    ')}"


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """A number of up to nine bytes, still in zigzag, and the position behind it."""
    number = shift = 0
    while shift < 63:
        byte = value[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise Odd


# One byte holds lengths up to 63, two up to 8,191: these are read in line.
_NUMBER = """\
n = value[at]
at += 1
if n > 127:
    m = value[at]
    if m > 127:
        n, at = varint(value, at - 1)
    else:
        n = n & 127 | m << 7
        at += 1
"""
_LENGTH = f"{_NUMBER}if n & 1: raise Odd\n"

_PRIMITIVES: Mapping[str, str] = {
    "null": "TARGET = None\n",
    "boolean": "n = value[at]\nat += 1\nif n > 1: raise Odd\nTARGET = n == 1\n",
    "int": f"{_NUMBER}TARGET = (n >> 1) ^ -(n & 1)\n",
    "long": f"{_NUMBER}TARGET = (n >> 1) ^ -(n & 1)\n",
    "float": "TARGET, = unpack_float(value, at)\nat += 4\n",
    "double": "TARGET, = unpack_double(value, at)\nat += 8\n",
    "bytes": f"{_LENGTH}n = at + (n >> 1)\nTARGET = value[at:n]\nat = n\n",
    # What is cut off here is found at the end, where the positions do not agree.
    "string": f"{_LENGTH}n = at + (n >> 1)\nTARGET = value[at:n].decode()\nat = n\n",
}
