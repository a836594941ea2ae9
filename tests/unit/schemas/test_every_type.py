"""Every type of Avro within every other: generator, model, encoders, decoders, JSON form, registry and versions."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from schemas import Catalog, Codec, generate
from schemas.avro.reader import _reader
from schemas.codec import CONFLUENT
from schemas.job_schema import fingerprint_of, parse_writer_schema
from streams.dead.payload import as_json

MOMENT = datetime(2026, 1, 31, 8, 15, 30, 123000, UTC)


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


#: A type, a value of it, and the same in JSON form. What has a class is made from its JSON form.
LEAVES: dict[str, tuple[Any, Any, Any]] = {
    "null": ("null", None, None), "boolean": ("boolean", True, True), "int": ("int", -(2**31), -(2**31)),
    "long": ("long", 2**63 - 1, 2**63 - 1), "float": ("float", 1.5, 1.5), "double": ("double", 0.1, 0.1),
    "bytes": ("bytes", b"\x00\xff", "AP8="), "string": ("string", "\U0001f680", "\U0001f680"),
    "fixed": ({"type": "fixed", "name": "F", "size": 2}, b"\x00\xff", "AP8="),
    "enum": ({"type": "enum", "name": "E", "symbols": ["A", "class"]}, ..., "class"),
    "record": ({"type": "record", "name": "R", "fields": [{"name": "from_", "type": "int"}]}, ...,
               {"from_": 1}),
    "empty": ({"type": "record", "name": "N", "fields": []}, ..., {}),
    "tree": ({"type": "record", "name": "T", "fields": [{"name": "next", "type": ["null", "T"]}]}, ...,
             {"next": {"next": None}}),
    "date": (logical("int", "date"), date(2026, 1, 31), "2026-01-31"),
    "time-millis": (logical("int", "time-millis"), time(8, 15, 30, 123000), "08:15:30.123"),
    "time-micros": (logical("long", "time-micros"), time(8, 15, 30, 123456), "08:15:30.123456"),
    "timestamp-millis": (logical("long", "timestamp-millis"), MOMENT, "2026-01-31T08:15:30.123Z"),
    "timestamp-micros": (logical("long", "timestamp-micros"), MOMENT, "2026-01-31T08:15:30.123+00:00"),
    "local-millis": (logical("long", "local-timestamp-millis"), MOMENT.replace(tzinfo=None), "2026-01-31T08:15:30.123"),
    "local-micros": (logical("long", "local-timestamp-micros"), MOMENT.replace(tzinfo=None), "2026-01-31T08:15:30.123"),
    "uuid": (logical("string", "uuid"), UUID(int=7), str(UUID(int=7))),
    "decimal": (logical("bytes", "decimal", precision=30, scale=2), Decimal("-12345678901234567.89"),
                Decimal("-12345678901234567.89")),
    "fixed decimal": ({**logical("fixed", "decimal", size=8, precision=9, scale=9), "name": "D"}, Decimal("1e-9"),
                      "1e-9"),
    "unknown logical type": (logical("string", "email"), "a@example.org", "a@example.org"),
}  # fmt: skip
LIST, DICT = {"type": "array", "items": "int"}, {"type": "map", "values": "int"}
CONTAINERS = {
    "itself": lambda kind, value: (kind, value),
    "optional": lambda kind, value: (["null", kind], value),
    "array": lambda kind, value: ({"type": "array", "items": kind}, [value, value]),
    "map": lambda kind, value: ({"type": "map", "values": kind}, {"ü": value}),
    "union of three": lambda kind, value: ([kind, LIST, DICT], value),
    "arrays in maps": lambda kind, value: (
        {"type": "map", "values": {"type": "array", "items": ["null", kind]}}, {"a": [value]},
    ),
}  # fmt: skip
CANNOT = {("null", "optional"), ("null", "array"), ("null", "arrays in maps"), ("empty", "array")}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes the module of one job type's models."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(*versions: dict[str, Any]) -> Any:
        (tmp_path / "schemas/q").mkdir(parents=True)
        for number, schema in enumerate(versions, 1):
            (tmp_path / f"schemas/q/Job.v{number}.avsc").write_text(json.dumps(schema))
        generate.write(tmp_path / "schemas", tmp_path / "every_type")
        return importlib.import_module("every_type.q")

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == "every_type"]:
        del sys.modules[name]


class Server:
    """What a codec asks a schema registry."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}

    def schema_id(self, topic: str, name: str, text: str) -> int:
        self.texts.setdefault(len(self.texts) + 1, text)
        return len(self.texts)

    def schema_text(self, schema_id: int) -> str:
        return self.texts[schema_id]


@pytest.mark.parametrize("container", CONTAINERS)
async def test_every_type_arrives_as_it_was(models: Any, container: str) -> None:
    wrap: Any = CONTAINERS[container]
    kinds = {name: leaf for name, leaf in LEAVES.items() if (name, container) not in CANNOT}
    if container in {"array", "arrays in maps", "map", "union of three"}:
        kinds.pop("null", None)
    fields = [{"name": f"f{number}", "type": wrap(kind, None)[0]} for number, (kind, _, _) in enumerate(kinds.values())]
    first = {"type": "record", "namespace": "every.q", "name": "Job", "fields": fields}
    second = {**first, "fields": [*fields, {"name": "added", "type": "int", "default": 7}]}
    module = models(first, second)
    codec, server = Codec(Catalog()), Server()
    codec.catalog.add_model(module.Job)
    registry: Any = server
    registered = Codec(codec.catalog, registry)

    typed = {f"f{number}": wrap(None, form)[1] for number, (_, _, form) in enumerate(kinds.values())}
    job = codec.from_text("every.q.Job", json.dumps(typed, default=str))
    for number, (name, (_, value, _)) in enumerate(kinds.items()):
        if value is not ...:
            assert getattr(job, f"f{number}") == wrap(None, value)[1], name

    assert codec.from_text("every.q.Job", json.dumps(as_json(job))) == job

    value = codec.encode(job, "t")
    assert codec.decode(value) == ("every.q.Job", job)
    binding = codec.catalog.binding("every.q.Job")
    assert _reader(binding, 10, None, binding.schema)(value) == ("every.q.Job", job)

    framed = registered.encode(job, "t")
    await registered.load_schema(1)
    assert registered.decode(framed) == ("every.q.Job", job)

    # The first version is the same but for its last field, which takes one byte.
    older = codec.catalog.versions("every.q.Job")[0]
    assert codec.decode(b"\xc3\x01" + older.fingerprint + value[10:-1])[1] == job
    server.texts[2] = older.text
    await registered.load_schema(2)
    assert registered.decode(CONFLUENT + (2).to_bytes(4, "big") + value[10:-1])[1] == job
    assert fingerprint_of(parse_writer_schema(older.text)) == older.fingerprint
