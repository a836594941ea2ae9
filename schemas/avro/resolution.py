"""Schema resolution: how values of a writer's schema become values of a reader's.

The rules are those of the Avro specification 1.12, "Schema Resolution", and one more: a logical type is a part of the
meaning. A change of it is followed exactly (19.99 stays 19.99 whatever its scale), or the value is refused; Avro's own
rules look at the bytes alone, and would read 0.1999. One set of rules serves both for reading, and for judging a new
version of a schema before it is released: see `Resolution.objections`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from schemas.avro.logical import Misfit, family_of, fitting, keeps_every_value, reading, shown
from schemas.avro.schema_nodes import kind_of, named_types, plain

Convert = Callable[[Any], Any]

NAMED_KINDS = frozenset({"record", "enum", "fixed"})
_PROMOTED: Mapping[tuple[str, str], Convert | None] = {
    ("int", "long"): None,
    ("float", "double"): None,
    ("string", "bytes"): str.encode,
    ("bytes", "string"): bytes.decode,
}
_ROUNDED = frozenset({("int", "float"), ("int", "double"), ("long", "float"), ("long", "double")})


class Refused(Exception):
    """Raised when a value cannot be read as its reader wants it: which field, and why."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"field {path!r}: {why}" if path else why)


class Refusal:
    """The converter of what can never be read; a record that needs such a field is such a one itself."""

    def __init__(self, path: str, why: str) -> None:
        self._path, self._why = path, why

    def __call__(self, value: Any) -> Any:
        """Raises Refused."""
        raise Refused(self._path, self._why)


class Resolution(NamedTuple):
    """How values of one schema are read as those of another.

    convert     from what fastavro reads by `wire_schema` to the reader's datum: logical types decoded, fields that were
                not written left out, named branches of unions tagged where that was asked for; raises Refused. It is a
                Refusal where no value can be read
    objections  why not every value can be read so, by every Avro library; empty for a change that harms nobody
    shifted     where the same bytes are another value
    """

    convert: Convert
    objections: tuple[str, ...]
    shifted: tuple[str, ...]


def resolve(writer: Any, reader: Any, *, tagged: bool = False) -> Resolution:
    """Compares two parsed schemas once, so that reading a value costs no look at them."""
    resolver = _Resolver(writer, reader, tagged=tagged)
    convert = resolver.step(writer, reader, "") or _same
    return Resolution(convert, tuple(dict.fromkeys(resolver.objections)), tuple(resolver.shifted))


def reads_alike(writer: Any, reader: Any) -> bool:
    """Whether two schemas say the same of all bytes: they differ in docs, defaults and aliases at most."""
    return writer is reader or _essence(writer) == _essence(reader)


def _essence(node: Any) -> Any:
    if isinstance(node, list):
        return [_essence(part) for part in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _essence(part) for key, part in node.items() if key not in _UNSAID and key[:2] != "__"}
    return kept["type"] if kept.keys() == {"type"} else kept


def wire_schema(writer: Any) -> Any:
    """The writer's schema as `Resolution.convert` wants it read: the same bytes, with branches that tell their number.

    A record takes no bytes of its own, so one around each branch of a union names it; fastavro tells names alone.
    """
    mark = "_branch"
    while any(mark in name for name in named_types(writer)):
        mark += "_"
    return _Wire(mark).copy(writer)


class _Wire:
    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._wrapped = 0

    def copy(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.copy(part) for part in node] if _is_plain_union(node) else [*map(self._wrap, enumerate(node))]
        if not isinstance(node, dict):
            return node
        return {key: self._part(key, part) for key, part in node.items() if key not in _MEANINGLESS and key[:2] != "__"}

    def _part(self, key: str, part: Any) -> Any:
        if key == "fields":
            return [{"name": field["name"], "type": self.copy(field["type"])} for field in part]
        return self.copy(part) if key in {"type", "items", "values"} else part

    def _wrap(self, numbered: tuple[int, Any]) -> Any:
        number, branch = numbered
        self._wrapped += 1
        name = f"{self._mark}{self._wrapped}_{number}"
        return {"type": "record", "name": name, "fields": [{"name": "value", "type": self.copy(branch)}]}


#: What says nothing of a value that was written.
_UNSAID = frozenset({"default", "aliases", "doc"})
_MEANINGLESS = _UNSAID | {"logicalType"}


def _is_plain_union(union: list[Any]) -> bool:
    """Whether None or not tells the branch."""
    return len(union) == 1 or (len(union) == 2 and "null" in union)


class _Resolver:
    """Builds converters; one that has nothing to do is None."""

    def __init__(self, writer: Any, reader: Any, *, tagged: bool) -> None:
        self.objections: list[str] = []
        self.shifted: list[str] = []
        self._written, self._wanted = named_types(writer), named_types(reader)
        self._tagged = tagged
        self._records: dict[tuple[str, str], Convert] = {}

    def step(self, writer: Any, reader: Any, path: str) -> Convert | None:
        """The converter from one type to another."""
        writer, reader = _meant(writer, self._written), _meant(reader, self._wanted)
        if isinstance(writer, list):
            return self._from_union(writer, reader, path)
        if isinstance(reader, list):
            return self._into_union(writer, reader, path)
        if self._closeness(writer, reader) is None:
            return self._refusal(path, f"{_shown(writer)} cannot be read as {_shown(reader)}", _KEEP)
        return self._single(writer, reader, path)

    def _refusal(self, path: str, why: str, remedy: str) -> Convert:
        self._object(path, why, remedy)
        return Refusal(path, why)

    def _object(self, path: str, why: str, remedy: str) -> None:
        self.objections.append(f"{f'field {path!r}: ' if path else ''}{why}; {remedy}")

    def _closeness(self, writer: Any, reader: Any) -> int | None:
        """How near two types that are no unions are, 0 at best; None if one is never read as the other."""
        of_writer, of_reader = family_of(writer), family_of(reader)
        if of_writer and of_reader:
            alike = shown(writer) == shown(reader) and writer["type"] == reader["type"]
            return None if of_writer != of_reader else int(not alike)
        kinds = kind_of(plain(writer, self._written)), kind_of(plain(reader, self._wanted))
        if kinds in _PROMOTED or kinds in _ROUNDED:
            return 3
        if kinds[0] != kinds[1] or (kinds[0] in NAMED_KINDS and not _belong_together(writer, reader)):
            return None
        if kinds[0] in NAMED_KINDS and writer["name"] != reader["name"]:
            return 2
        return 2 if of_writer or of_reader else 0

    def _single(self, writer: Any, reader: Any, path: str) -> Convert | None:
        of_writer, of_reader = family_of(writer), family_of(reader)
        if of_writer is None and of_reader is None:
            return self._plainly(writer, reader, path)
        if not keeps_every_value(writer, reader):
            change = f"{_shown(writer)} has become {_shown(reader)}"
            self._object(path, change, _NEW_FIELD)
            if of_writer and of_reader:
                self.shifted.append(f"field {path!r}: {change}")
        if of_writer and of_reader:
            return _located(path, reading(writer), fitting(reader))
        # A handler that knows no logical type gets what was written, and one whose writer knew none gets its own.
        convert = self._plainly(plain(writer, self._written), plain(reader, self._wanted), path)
        return _located(path, convert, reading(reader), fitting(reader)) if of_reader else convert

    def _plainly(self, writer: Any, reader: Any, path: str) -> Convert | None:
        """The converter between types that match, whatever their logical types."""
        kinds = kind_of(writer), kind_of(reader)
        if kinds in _ROUNDED:
            return _located(path, _exact_float)
        if kinds in _PROMOTED:
            convert = _PROMOTED[kinds]
            return _located(path, convert) if convert else None
        if kinds[0] == "record":
            return self._record(writer, reader, path)
        if kinds[0] == "enum":
            return self._enum(writer, reader, path)
        if kinds[0] in {"array", "map"}:
            return self._collection(writer, reader, path)
        return None

    def _record(self, writer: Any, reader: Any, path: str) -> Convert:
        names = writer["name"], reader["name"]
        if names not in self._records:
            self._records[names] = self._later(names)  # Used where a type contains itself.
            self._records[names] = self._fields(writer, reader, path)
        return self._records[names]

    def _later(self, names: tuple[str, str]) -> Convert:
        def convert(datum: Any) -> Any:
            return self._records[names](datum)

        return convert

    def _fields(self, writer: Any, reader: Any, path: str) -> Convert:
        written = {field["name"]: field["type"] for field in writer["fields"]}
        steps: list[tuple[str, str, Convert | None]] = []
        for field in reader["fields"]:
            within = f"{path}.{field['name']}" if path else field["name"]
            names = (field["name"], *field.get("aliases", ()))
            source = next((name for name in names if name in written), None)
            if source is not None:
                steps.append((field["name"], source, self.step(written[source], field["type"], within)))
            elif "default" not in field:
                steps.append((field["name"], "", self._refusal(within, "is new and has no default", _DEFAULT)))
        hopeless = next((step for _, _, step in steps if isinstance(step, Refusal)), None)
        return hopeless or _record_of(steps)

    def _enum(self, writer: Any, reader: Any, path: str) -> Convert | None:
        gone = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
        if not gone:
            return None
        default = reader.get("default")
        if default is None:
            self._object(path, f"{reader['name']} has no symbol {', '.join(gone)} any more", _SYMBOLS)

        def convert(symbol: str) -> Any:
            if symbol not in gone:
                return symbol
            if default is None:
                raise Refused(path, f"{reader['name']} has no symbol {symbol}, nor a default")
            return default

        return convert

    def _collection(self, writer: Any, reader: Any, path: str) -> Convert | None:
        part = "items" if writer["type"] == "array" else "values"
        step = self.step(writer[part], reader[part], f"{path}[]")
        if step is None:
            return None
        if part == "items":
            return lambda items: [step(item) for item in items]
        return lambda items: {key: step(value) for key, value in items.items()}

    def _into_union(self, writer: Any, union: list[Any], path: str) -> Convert | None:
        """The branch that is nearest takes the value, the first of several."""
        branches = [_meant(branch, self._wanted) for branch in union]
        ranked = [(near, branch) for branch in branches if (near := self._closeness(writer, branch)) is not None]
        if not ranked:
            return self._refusal(path, f"{_shown(writer)} cannot be read as {_shown(union)}", _KEEP)
        _, nearest = min(ranked, key=lambda pair: pair[0])
        step = self._single(writer, nearest, path)
        if not (self._tagged and isinstance(nearest, dict) and nearest["type"] in NAMED_KINDS):
            return step
        name = nearest["name"]
        return lambda value: (name, value if step is None else step(value))

    def _from_union(self, union: list[Any], reader: Any, path: str) -> Convert | None:
        steps = [self.step(branch, reader, path) for branch in union]
        if not _is_plain_union(union):
            return _branch(steps)
        if "null" not in union:
            return _chain(_untagged, steps[0])
        null, other = steps[union.index("null")], steps[1 - union.index("null")]

        def convert(value: Any) -> Any:
            if value is None:
                return None if null is None else null(None)
            value = _untagged(value)
            return value if other is None else other(value)

        return convert


_KEEP = "keep the type, or give the new one a field of its own"
_NEW_FIELD = (
    "Avro libraries read the number or the bytes as they are, and so a wrong value: keep the logical type, or give the "
    "new one a field of its own"
)
_DEFAULT = "give new fields a default"
_SYMBOLS = "keep all symbols, or give the enum a default"


def _meant(node: Any, names: dict[str, Any]) -> Any:
    """Follows names and needless wrappers to the type itself, or to its logical type."""
    while family_of(node) is None:
        if isinstance(node, str) and node in names:
            node = names[node]
        elif isinstance(node, dict) and node["type"] not in _COMPLEX:
            node = node["type"]
        else:
            break
    return node


_COMPLEX = ("record", "enum", "fixed", "array", "map")


def _belong_together(writer: Any, reader: Any) -> bool:
    """Whether two named types of a kind are one: by name, without its namespace, or by an alias."""
    if writer["type"] == "fixed" and writer["size"] != reader["size"]:
        return False
    names = {name.rpartition(".")[2] for name in (reader["name"], *reader.get("aliases", ()))}
    return str(writer["name"]).rpartition(".")[2] in names


def _shown(node: Any) -> str:
    if family_of(node):
        return shown(node)
    if isinstance(node, list):
        return f"one of {', '.join(map(_shown, node))}"
    if isinstance(node, dict):
        node = node["type"] if node["type"] not in NAMED_KINDS else f"{node['type']} {node['name']}{_size(node)}"
    return str(node)


def _size(node: Any) -> str:
    return f" of {node['size']} bytes" if node["type"] == "fixed" else ""


def _record_of(steps: list[tuple[str, str, Convert | None]]) -> Convert:
    def convert(datum: dict[str, Any]) -> Any:
        return {target: datum[source] if step is None else step(datum[source]) for target, source, step in steps}

    return convert


def _branch(steps: list[Convert | None]) -> Convert:
    def convert(tagged: tuple[str, dict[str, Any]]) -> Any:
        name, wrapper = tagged
        value, step = wrapper["value"], steps[int(name.rpartition("_")[2])]
        return value if step is None else step(value)

    return convert


def _chain(first: Convert, second: Convert | None) -> Convert:
    return first if second is None else lambda value: second(first(value))


def _located(path: str, *steps: Convert | None) -> Convert:
    """One converter of several, whose errors name the field."""
    converters = [step for step in steps if step is not None]

    def convert(value: Any) -> Any:
        try:
            for step in converters:
                value = step(value)
        except Refused:
            raise
        except Exception as error:
            raise Refused(path, str(error) or type(error).__name__) from error
        return value

    return convert


def _exact_float(value: int) -> float:
    if int(exact := float(value)) != value:
        raise Misfit(f"{value} is no exact floating-point number")
    return exact


def _untagged(value: Any) -> Any:
    """The value of a union's branch, without the name with which fastavro reads a named type."""
    return value[1] if type(value) is tuple else value


def _same(value: Any) -> Any:
    return value
