"""Converters between model instances and the plain dicts that fastavro reads and writes.

Compiled once for a schema, so that decoding costs no look at it. A converter that has nothing to do is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

from schemas.avro.binding import RAW_TYPES, Binding, logical_key
from schemas.generator.names import attribute_of

Convert = Callable[[Any], Any]


class LoaderCompiler:
    """Builds the function that turns what fastavro has read into a model instance.

    `resolved` is for values whose writer had another schema, see `resolution`: fields may be absent then, and
    the model's own default applies, fresh for every instance.
    """

    def __init__(self, binding: Binding, *, resolved: bool = False) -> None:
        self._binding = binding
        self._resolved = resolved
        self._records: dict[str, Convert] = {}

    def compile(self) -> Convert:
        """The function from a datum of the whole schema to an instance of the model."""
        return self._record(self._binding.schema)

    def _convert(self, node: Any) -> Convert | None:
        if (key := logical_key(node)) is not None:
            return _whole_decimal(node) if key.endswith("-decimal") and not self._resolved else None
        node = self._binding.resolve(node)
        kind = self._binding.kind(node)
        if kind == "record":
            return self._record(node)
        if kind == "enum":
            enum = self._binding.classes[node["name"]]
            return enum_members(enum).__getitem__
        if kind in {"array", "map"}:
            return self._collection(node, kind)
        return self._union(node) if kind == "union" else None

    def _record(self, node: Mapping[str, Any]) -> Convert:
        name = node["name"]
        if name in self._records:
            return self._records[name]
        self._records[name] = self._later(name)  # Used where a type contains itself.
        fields = [field["name"] for field in node["fields"]]
        steps = [(field["name"], step) for field in node["fields"] if (step := self._convert(field["type"]))]
        # The longest first: where both are there, `from_` makes room before `from` takes its name.
        longest = sorted(fields, key=len, reverse=True)
        renamed = [(field, attribute_of(field)) for field in longest if attribute_of(field) != field]
        build = _partial_loader if self._resolved else _record_loader
        self._records[name] = build(self._binding.classes[name], steps, renamed)
        return self._records[name]

    def _later(self, name: str) -> Convert:
        def load(datum: Any) -> Any:
            return self._records[name](datum)

        return load

    def _collection(self, node: Mapping[str, Any], kind: str) -> Convert | None:
        step = self._convert(node["items" if kind == "array" else "values"])
        if step is None:
            return None
        if kind == "array":
            return lambda items: [step(item) for item in items]
        return lambda items: {key: step(value) for key, value in items.items()}

    def _union(self, union: list[Any]) -> Convert | None:
        by_name: dict[str, Convert] = {}
        by_type: dict[type, Convert] = {}
        for branch in union:
            node = self._binding.resolve(branch)
            kind = self._binding.kind(node)
            step = self._convert(node)
            if self._binding.tagged and kind in {"record", "enum", "fixed"}:
                by_name[node["name"]] = step or _same
            elif step:
                by_type[Decimal if logical_key(node) else RAW_TYPES[kind]] = step
        if not by_type and not by_name:
            return None

        def convert(value: Any) -> Any:
            if value is None:
                return None
            if type(value) is tuple:  # How fastavro tags named types, asked for where branches look alike.
                return by_name[value[0]](value[1])
            return by_type.get(type(value), _same)(value)

        return convert


def enum_members(enum: type) -> dict[str, Any]:
    """The members of an enum class by symbol."""
    return {str(member.value): member for member in enum.__members__.values()} if issubclass(enum, Enum) else {}


def _whole_decimal(node: Mapping[str, Any]) -> Convert:
    """A check of decimals: fastavro rounds one of more digits than its type has, which shows in the exponent."""
    exponent = -node.get("scale", 0)

    def check(value: Any) -> Any:
        if value.as_tuple().exponent != exponent:
            raise ValueError(f"a decimal of more than {node['precision']} digits")
        return value

    return check


def _same(value: Any) -> Any:
    return value


def _record_loader(model: type, steps: list[tuple[str, Convert]], renamed: list[tuple[str, str]]) -> Convert:
    make = _maker(model)
    if not steps and not renamed:
        return make

    def load(datum: dict[str, Any]) -> Any:
        for name, step in steps:
            datum[name] = step(datum[name])
        for name, attribute in renamed:
            datum[attribute] = datum.pop(name)
        return make(datum)

    return load


def keeps_fields_in_dict(model: type) -> bool:
    """Whether an instance is nothing but its `__dict__`, as those of generated models are."""
    plain = hasattr(model, "__dataclass_fields__") and "__slots__" not in model.__dict__
    return plain and not hasattr(model, "__post_init__")


def _maker(model: type) -> Convert:
    """The quickest way from a dict of all fields to an instance.

    A generated model keeps its fields in `__dict__`, so the dict that fastavro has made becomes the instance, in a
    quarter of the time of a frozen dataclass's constructor. A model that does more than that is constructed.
    """
    if not keeps_fields_in_dict(model):
        return lambda datum: model(**datum)
    new, assign = object.__new__, object.__setattr__

    def make(datum: dict[str, Any]) -> Any:
        instance: Any = new(model)
        assign(instance, "__dict__", datum)
        return instance

    return make


def _partial_loader(model: type, steps: list[tuple[str, Convert]], renamed: list[tuple[str, str]]) -> Convert:
    def load(datum: dict[str, Any]) -> Any:
        for name, step in steps:
            if name in datum:
                datum[name] = step(datum[name])
        for name, attribute in renamed:
            if name in datum:
                datum[attribute] = datum.pop(name)
        return model(**datum)

    return load
