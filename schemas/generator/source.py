"""Writes the module of a queue's models: a frozen dataclass for each record, an enum for each enum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import indent
from typing import Any

from schemas.avro.logical import family_of
from schemas.avro.schema_nodes import kind_of, plain
from schemas.generator.names import JOB_TYPE, SCHEMAS, attribute_of, class_names, class_of, member_of
from schemas.generator.values import ValueSource, quoted

_IMPORTED = {
    "dataclass": "dataclasses", "field": "dataclasses", "date": "datetime", "datetime": "datetime", "time": "datetime",
    "Decimal": "decimal", "Enum": "enum", "ClassVar": "typing", "Final": "typing", "UUID": "uuid",
}  # fmt: skip
_TYPES = {
    "null": "None", "boolean": "bool", "int": "int", "long": "int", "float": "float", "double": "float",
    "bytes": "bytes", "string": "str", "fixed": "bytes", "array": "list", "map": "dict",
}  # fmt: skip
_LOGICAL = {
    "timestamp": "datetime", "local-timestamp": "datetime", "time": "time", "date": "date", "decimal": "Decimal",
    "uuid": "UUID",
}  # fmt: skip


def module_source(queue: str, named: Mapping[str, Any], job_types: list[str], location: str) -> str:
    """The module's text.

    named      all records, enums and fixeds of the queue's current schemas, by full name, in the order of their use
    job_types  the full names of those that are jobs
    location   where the queue's schema files lie, as seen from the module
    """
    return _Module(named, job_types).text(queue, location)


class _Module:
    def __init__(self, named: Mapping[str, Any], job_types: list[str]) -> None:
        self._named = dict(named)
        self._job_types = job_types
        attributes = {
            attribute_of(field["name"])
            for node in named.values()
            if node["type"] == "record"
            for field in node["fields"]
        }
        with_class = [name for name, node in named.items() if node["type"] in {"record", "enum"}]
        self.classes = class_names(with_class, job_types, attributes | {JOB_TYPE})
        #: What a name of Avro's has taken, so that imports under it would be somebody else's.
        self._taken = attributes | set(self.classes.values())
        self._used: dict[str, str] = {}
        self._values = ValueSource(self._named, self.classes, self._refer)

    def _refer(self, name: str) -> str:
        """How the module calls something that it imports, or that is built in: by its name, unless that is taken."""
        called = name
        while called in self._taken:
            called += "_"
        self._used[name] = called
        return called

    def text(self, queue: str, location: str) -> str:
        """The whole module."""
        head = f"{SCHEMAS}: {self._refer('Final')} = {quoted(location)}\n"
        odd = {full: called for full, called in self.classes.items() if called != class_of(full)}
        if odd:
            entries = "".join(f"    {quoted(full)}: {quoted(called)},\n" for full, called in sorted(odd.items()))
            mapping = f"{self._refer('dict')}[{self._refer('str')}, {self._refer('str')}]"
            head += f"CLASSES: {self._refer('Final')}[{mapping}] = {{\n{entries}}}\n"
        body = "".join(f"\n\n{self._class(name)}" for name in self.classes_in_order())
        doc = f'"""Models of the {queue} queue\'s jobs, from the schemas in {location}."""\n'
        return f"# ruff: noqa\n# fmt: off\n{doc}\nfrom __future__ import annotations\n\n{self._imports()}\n{head}{body}"

    def classes_in_order(self) -> Iterator[str]:
        """Enums first, then records: what a class needs while it is made stands above it."""
        yield from (name for name, node in self._named.items() if node["type"] == "enum")
        yield from (name for name, node in self._named.items() if node["type"] == "record")

    def _imports(self) -> str:
        lines: dict[str, list[str]] = {}
        for name, called in sorted(self._used.items()):
            if name in _IMPORTED or called != name:
                alias = name if called == name else f"{name} as {called}"
                lines.setdefault(_IMPORTED.get(name, "builtins"), []).append(alias)
        return "".join(f"from {module} import {', '.join(names)}\n" for module, names in sorted(lines.items()))

    def _class(self, name: str) -> str:
        node = self._named[name]
        return self._enum(name, node) if node["type"] == "enum" else self._record(name, node)

    def _enum(self, name: str, node: Any) -> str:
        members = "".join(f"    {member_of(symbol)} = {quoted(symbol)}\n" for symbol in node["symbols"])
        return f"class {self.classes[name]}({self._refer('Enum')}):\n{_doc(node)}{members}"

    def _record(self, name: str, node: Any) -> str:
        link = f"    {JOB_TYPE}: {self._refer('ClassVar')}[{self._refer('str')}] = {quoted(name)}\n\n"
        parts = [_doc(node), link if name in self._job_types else "", *map(self._field, node["fields"])]
        body = "".join(parts).rstrip("\n") or "    pass"
        decorator = f"@{self._refer('dataclass')}(frozen=True, kw_only=True)\n"
        return f"{decorator}class {self.classes[name]}:\n{body}\n"

    def _field(self, field: Any) -> str:
        name, annotation = attribute_of(field["name"]), self._annotation(field["type"])
        return f"    {name}: {annotation}{self._default(field)}\n{_doc(field)}"

    def _default(self, field: Any) -> str:
        if "default" not in field:
            return ""
        source = self._values.write(field["type"], field["default"], field["name"])
        if not isinstance(field["default"], list | dict):
            return f" = {source}"
        empty = {"[]": "list", "{}": "dict"}.get(source)
        return f" = {self._refer('field')}(default_factory={self._refer(empty) if empty else f'lambda: {source}'})"

    def _annotation(self, node: Any) -> str:
        resolved = plain(node, self._named)
        family = family_of(node) or family_of(resolved)
        return self._refer(_LOGICAL[family]) if family else self._plain_annotation(resolved)

    def _plain_annotation(self, node: Any) -> str:
        kind = kind_of(node)
        if kind == "union":
            parts = dict.fromkeys(self._annotation(branch) for branch in node)
            return " | ".join(sorted(parts, key="None".__eq__)) or "None"
        if kind in {"record", "enum"}:
            return self.classes[node["name"]]
        if kind == "array":
            return f"{self._refer('list')}[{self._annotation(node['items'])}]"
        if kind == "map":
            return f"{self._refer('dict')}[{self._refer('str')}, {self._annotation(node['values'])}]"
        return "None" if kind == "null" else self._refer(_TYPES[kind])


def _doc(node: Any) -> str:
    """A docstring, with a blank line behind it; nothing where the schema has no doc."""
    text = node.get("doc")
    if not isinstance(text, str) or not text.strip():
        return ""
    escaped = "".join(char if char in "\n\t" or char.isprintable() else quoted(char)[1:-1] for char in _escaped(text))
    return indent(f'"""{escaped}"""', "    ") + "\n\n"


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'{text[:-1]}\\"' if text.endswith('"') else text
