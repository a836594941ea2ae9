"""Values of one schema read as those of another: right, or refused with the field; never silently something else."""

from __future__ import annotations

import json
import warnings
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import avro.schema
import fastavro
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from fastavro.utils import generate_many
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas import Catalog, SchemaInvalid
from schemas.avro.resolution import Refused, resolve, wire_schema
from schemas.avro.schema_nodes import walk
from schemas.compatibility import incompatibilities
from schemas.job_schema import parse_writer_schema

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT = datetime(2026, 1, 31, 8, 15, 30, 123000, UTC)
ID = "0190163d-8694-739b-aea5-966c26f8ad91"


def logical(kind: str, name: str) -> dict[str, Any]:
    return {"type": kind, "logicalType": name}


def decimal(precision: int, scale: int, **of: Any) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale, **of}


def record(kind: Any, **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": "t.q.Job", "fields": [{"name": "f", "type": kind, **more}]}


def parsed(kind: Any, **more: Any) -> dict[str, Any]:
    return parse_writer_schema(json.dumps(record(kind, **more)))


def bytes_of(schema: dict[str, Any], value: Any) -> bytes:
    body = BytesIO()
    fastavro.schemaless_writer(body, schema, {"f": value})
    return body.getvalue()


def read(written: Any, wanted: Any, value: Any, *, tagged: bool = False, **more: Any) -> Any:
    """What the reader's field holds when the writer has written this value."""
    writer, reader = parsed(written), parsed(wanted, **more)
    wire = fastavro.parse_schema(wire_schema(writer))
    datum = fastavro.schemaless_reader(BytesIO(bytes_of(writer, value)), wire, None, return_named_type=True)
    return resolve(writer, reader, tagged=tagged).convert(datum).get("f", "left out")


MILLIS, MICROS, NANOS = (logical("long", f"timestamp-{unit}") for unit in ("millis", "micros", "nanos"))
LOCAL_MILLIS, LOCAL_MICROS = (logical("long", f"local-timestamp-{unit}") for unit in ("millis", "micros"))
TIME_MILLIS, TIME_MICROS = logical("int", "time-millis"), logical("long", "time-micros")
DATE, UUID_TEXT = logical("int", "date"), logical("string", "uuid")
UUID_FIXED = {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}
FIXED_DECIMAL = decimal(10, 2, type="fixed", name="D", size=6)
ENUM = {"type": "enum", "name": "t.q.E", "symbols": ["A", "B"]}
SMALLER = {**ENUM, "symbols": ["A", "C"]}


@pytest.mark.parametrize(
    ("written", "wanted", "value", "expected"),
    [
        (MILLIS, MICROS, MOMENT, MOMENT),
        (MICROS, MILLIS, MOMENT + timedelta(microseconds=1), MOMENT + timedelta(microseconds=1)),
        (NANOS, MICROS, 1_769_847_330_123_456_000, datetime(2026, 1, 31, 8, 15, 30, 123456, UTC)),
        (LOCAL_MILLIS, LOCAL_MICROS, datetime(2026, 1, 31, 8), datetime(2026, 1, 31, 8)),
        (TIME_MILLIS, TIME_MICROS, time(8, 15, 30, 123000), time(8, 15, 30, 123000)),
        (TIME_MICROS, TIME_MILLIS, time(8, 15, 30, 123456), time(8, 15, 30, 123456)),
        (decimal(10, 2), decimal(12, 4), Decimal("19.99"), Decimal("19.9900")),
        (decimal(12, 4), decimal(10, 2), Decimal("19.9900"), Decimal("19.99")),
        (decimal(10, 2), FIXED_DECIMAL, Decimal("-19.99"), Decimal("-19.99")),
        (FIXED_DECIMAL, decimal(40, 30), Decimal("-19.99"), Decimal("-19.99")),
        ("bytes", decimal(4, 2), (1999).to_bytes(2, "big"), Decimal("19.99")),
        ("string", UUID_TEXT, ID, UUID(ID)),
        (UUID_TEXT, "string", UUID(ID), ID),
        (UUID_TEXT, "bytes", UUID(ID), ID.encode()),
        ("long", MILLIS, 1_000, EPOCH + timedelta(seconds=1)),
        ("int", MICROS, 1_000, EPOCH + timedelta(milliseconds=1)),
        (MILLIS, "long", MOMENT, 1_769_847_330_123),
        ("int", DATE, 1, date(1970, 1, 2)),
        ("int", "long", 1, 1), ("int", "float", 3, 3.0), ("long", "double", 2**53, 2.0**53),
        ("float", "double", 1.5, 1.5),
        ("string", "bytes", "ü", b"\xc3\xbc"), ("bytes", "string", b"\xc3\xbc", "ü"),
        (["null", "int"], ["null", "long"], 1, 1), (["null", "int"], ["null", "long"], None, None),
        (["int", "long"], "long", 2**40, 2**40), (["float", "double", "int"], ["double", "string"], 7, 7.0),
        (["null", MILLIS], [MICROS, "null"], MOMENT, MOMENT), (MILLIS, ["null", MICROS], MOMENT, MOMENT),
        (["null", MILLIS, "string"], ["null", MICROS, "string"], MOMENT, MOMENT),
        ("string", ["null", UUID_TEXT, "string"], "text", "text"),
        ("int", ["null", "long"], 1, 1), ("int", ["string", "double", "int"], 1, 1),
        ({"type": "array", "items": MILLIS}, {"type": "array", "items": MICROS}, [MOMENT], [MOMENT]),
        ({"type": "map", "values": decimal(4, 1)}, {"type": "map", "values": decimal(5, 2)}, {"a": Decimal("1.5")},
         {"a": Decimal("1.50")}),
        (ENUM, {**SMALLER, "default": "C"}, "B", "C"), (ENUM, SMALLER, "A", "A"),
        ({**ENUM, "name": "t.other.E"}, ENUM, "B", "B"),
        ({**ENUM, "name": "Old"}, {**ENUM, "aliases": ["Old"]}, "B", "B"),
    ],
)  # fmt: skip
def test_what_can_be_read_exactly_is(written: Any, wanted: Any, value: Any, expected: Any) -> None:
    found = read(written, wanted, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("written", "wanted", "value"),
    [
        (decimal(12, 4), decimal(10, 2), Decimal("19.9901")),
        (decimal(10, 2), decimal(10, 4), Decimal("12345678.90")),
        (NANOS, MICROS, 1_769_847_330_123_456_789),
        (MILLIS, LOCAL_MILLIS, MOMENT), (LOCAL_MILLIS, MILLIS, datetime(2026, 1, 31)),
        (DATE, MILLIS, date(2026, 1, 31)), (TIME_MILLIS, DATE, time(8)), (decimal(10, 2), UUID_TEXT, Decimal("1.00")),
        ("string", UUID_TEXT, "no uuid"), ("bytes", "string", b"\xff"),
        ("long", "double", 2**53 + 1), ("long", "int", 1), ("double", "float", 1.0), ("float", "int", 1.0),
        (ENUM, SMALLER, "B"), (ENUM, "string", "A"), ("string", ENUM, "A"), ({**ENUM, "name": "Other"}, ENUM, "A"),
        ({"type": "fixed", "name": "F", "size": 2}, {"type": "fixed", "name": "F", "size": 3}, b"ab"),
        (["null", "string"], ["null", "int"], "a"), (["int", "string"], "int", "a"), (["null", "int"], "int", None),
        ("boolean", "int", True), ({"type": "array", "items": "int"}, {"type": "map", "values": "int"}, [1]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_exactly_is_refused_with_its_field(written: Any, wanted: Any, value: Any) -> None:
    with pytest.raises(Refused, match=r"^field 'f"):
        read(written, wanted, value)


@pytest.mark.parametrize("union", [["null", ENUM], [ENUM, "string"], ["string", ENUM], [ENUM, "int", "null"]])
def test_an_enum_that_becomes_a_union_stays_one(union: list[Any]) -> None:
    assert read(ENUM, union, "B", tagged=True) == ("t.q.E", "B")
    assert resolve(parsed(ENUM), parsed(union)).objections == ()


def test_fields_are_found_by_their_aliases_and_left_to_their_defaults() -> None:
    assert read("int", "string", 1, default="d", name="g") == "left out"
    writer, reader = parsed("int"), parsed("long", name="g", aliases=["f"])
    assert resolve(writer, reader).convert({"f": 1}) == {"g": 1}
    assert "'g': is new and has no default" in resolve(writer, parsed("long", name="g")).objections[0]


def test_recursive_types_are_resolved_at_every_depth() -> None:
    def tree(kind: Any) -> dict[str, Any]:
        fields = [{"name": "at", "type": kind}, {"name": "next", "type": ["null", "t.Tree"]}]
        return {"type": "record", "name": "t.Tree", "fields": fields}

    value = {"at": MOMENT, "next": {"at": MOMENT, "next": None}}
    assert read(tree(MILLIS), tree(MICROS), value) == value


LEAVES = [
    "null", "boolean", "int", "long", "float", "double", "bytes", "string", MILLIS, MICROS, NANOS, LOCAL_MILLIS,
    LOCAL_MICROS, TIME_MILLIS, TIME_MICROS, DATE, UUID_TEXT, UUID_FIXED, FIXED_DECIMAL, decimal(6, 2), decimal(8, 4),
    decimal(8, 2), ENUM, SMALLER, {"type": "fixed", "name": "F", "size": 16}, logical("string", "email"),
]  # fmt: skip
TYPES = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: (
        st.builds(lambda items: {"type": "array", "items": items}, inner)
        | st.builds(lambda values: {"type": "map", "values": values}, inner)
        | st.lists(st.sampled_from(LEAVES), min_size=2, max_size=4, unique_by=lambda node: str(by_avro(node)))
    ),
    max_leaves=4,
)


def by_avro(node: Any) -> Any:
    """What a union may hold only one of."""
    return node.get("name", node["type"]) if isinstance(node, dict) else node


def is_schema(kind: Any) -> bool:
    try:
        avro_schema(record(kind))
        parsed(kind)
    except Exception:
        return False
    return True


def avro_schema(schema: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return avro.schema.parse(json.dumps(schema))


SCHEMAS = TYPES.filter(is_schema)


@settings(max_examples=60)
@given(SCHEMAS, SCHEMAS)
def test_whatever_avros_own_checker_refuses_is_refused_here(written: Any, wanted: Any) -> None:
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    result = checker.get_compatibility(avro_schema(record(wanted)), avro_schema(record(written)))
    if not resolve(parsed(written), parsed(wanted)).objections:
        assert result.compatibility is SchemaCompatibilityType.compatible, (result.messages, result.locations)


@settings(max_examples=60)
@given(SCHEMAS, SCHEMAS)
def test_values_are_those_that_fastavro_resolves(written: Any, wanted: Any) -> None:
    """fastavro follows Avro's rules alone, which are ours where no logical type has a say."""
    writer, reader = without_logical(parsed(written)), without_logical(parsed(wanted))
    # Of several branches that will do it takes the first, we the nearest.
    assume(all(len(alike & set(branches(reader))) < 2 for alike in (TEXTS, NUMBERS)))
    convert = resolve(writer, reader).convert
    wire = fastavro.parse_schema(wire_schema(writer))
    for datum in generate_many(writer, 3):
        body = BytesIO()
        fastavro.schemaless_writer(body, writer, datum)
        try:
            ours = convert(fastavro.schemaless_reader(BytesIO(body.getvalue()), wire, None, return_named_type=True))
        except Refused:
            continue  # Ours refuses more: what would be rounded, for one.
        assert ours == fastavro.schemaless_reader(BytesIO(body.getvalue()), writer, reader)


TEXTS, NUMBERS = {"string", "bytes"}, {"int", "long", "float", "double"}


def branches(schema: Any) -> list[Any]:
    unions = (node for node in walk(schema) if isinstance(node, list))
    return [branch["type"] if isinstance(branch, dict) else branch for union in unions for branch in union]


def without_logical(schema: Any) -> Any:
    for node in walk(schema):
        if isinstance(node, dict):
            node.pop("logicalType", None)
    return schema


@settings(max_examples=60)
@given(SCHEMAS)
def test_a_schema_has_no_objection_to_itself(kind: Any) -> None:
    assert resolve(parsed(kind), parsed(kind)).objections == ()


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (decimal(10, 2), decimal(10, 4), "decimal(10, 2) has become decimal(10, 4)"),
        (decimal(10, 2), decimal(8, 2), "decimal(10, 2) has become decimal(8, 2)"),
        (MILLIS, MICROS, "timestamp-millis has become timestamp-micros"),
        ("string", UUID_TEXT, "string has become uuid"),
        ("long", MILLIS, "long has become timestamp-millis"),
        (MILLIS, "long", "timestamp-millis has become long"),
        (MILLIS, LOCAL_MILLIS, "timestamp-millis cannot be read as local-timestamp-millis"),
        (["null", DATE], ["null", "int"], "date has become int"),
        ({"type": "map", "values": TIME_MILLIS}, {"type": "map", "values": DATE}, "time-millis cannot be read as date"),
        (ENUM, SMALLER, "has no symbol B any more"),
        (["null", "string"], "string", "null cannot be read as string"),
    ],
)  # fmt: skip
def test_a_new_version_that_reads_other_values_is_refused(tmp_path: Path, before: Any, after: Any, change: str) -> None:
    release(tmp_path, before, after)
    problem, *_ = incompatibilities(tmp_path)
    assert problem.startswith("t.q.Job v2 cannot read v1: field 'f")
    assert change in problem
    assert "field of its own" in problem or "keep all symbols" in problem


def test_a_new_version_that_reads_the_same_values_is_not(tmp_path: Path) -> None:
    release(tmp_path, decimal(10, 2), decimal(12, 2), ["null", decimal(13, 2)])
    release(tmp_path / "other", UUID_TEXT, ["null", "string"])
    assert incompatibilities(tmp_path) == []


def test_two_meanings_of_one_fingerprint_are_not_served(tmp_path: Path) -> None:
    release(tmp_path, MILLIS, MICROS)
    with pytest.raises(SchemaInvalid, match=r"field 'f': timestamp-millis has become timestamp-micros"):
        Catalog.load(tmp_path)


def release(root: Path, *versions: Any) -> None:
    (root / "q").mkdir(parents=True)
    for number, kind in enumerate(versions, 1):
        (root / "q" / f"Job.v{number}.avsc").write_text(json.dumps(record(kind)))
