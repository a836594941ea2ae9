"""Jobs written with another version of the schema are read as the current model."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import pytest

from schemas import Codec, CorruptPayload, SchemaMismatch, UnknownSchema
from schemas.avro.reader import compile_reader
from schemas.codec import SINGLE_OBJECT
from schemas.job_schema import fingerprint_of, parse_schema, parse_writer_schema
from tests.unit.schemas.demo.models.demo import Everything, Growing, Kind
from tests.unit.schemas.samples import demo_codec, everything

OLD = {"name": "n", "count": 3, "kept": "ODD", "when": 1_000, "dropped": ["a"] * 3}


@pytest.fixture
def codec() -> Codec:
    return demo_codec()


def written(schema: dict[str, Any], datum: dict[str, Any], prefix: bytes = b"") -> bytes:
    body = BytesIO()
    fastavro.schemaless_writer(body, schema, datum)
    return prefix + body.getvalue()


def test_an_old_version_is_resolved_to_the_current_one(codec: Codec) -> None:
    first = codec.catalog.versions("tests.demo.Growing")[0]
    value = written(first.parsed, OLD, SINGLE_OBJECT + first.fingerprint)
    job_type, payload = codec.decode(value)
    assert job_type == "tests.demo.Growing"
    assert payload == Growing(
        title="n",
        count=3.0,
        kept=Kind.OLD,
        when=datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
        tags=["fresh"],
        mark=b"\xff",
        since=date(1970, 1, 2),
        note=None,
    )
    assert codec.decode(value)[1].tags is not payload.tags


def test_defaults_and_logical_types_are_those_of_the_handler(codec: Codec) -> None:
    """The writer knows neither logical types nor any field that has a default."""
    binding = codec.catalog.binding("tests.demo.Everything")
    plain = json.loads(codec.catalog.current("tests.demo.Everything").text)
    plain["fields"] = [bare(field) for field in plain["fields"] if "default" not in field or field["name"] == "color"]
    datum = {
        "id": "0190163d-8694-739b-aea5-966c26f8ad91",
        "at": 1_769_847_330_123,
        "day": 20_484,
        "clock": 29_730_123,
        "price": (-1_234_567).to_bytes(4, "big", signed=True),
        "digest": b"\x00\x01\x02\x03",
        "point": {"x": 1.0, "y": 2.5},
        "tree": {"value": 1, "next": {"value": 2, "next": None}},
        "color": "BLUE",
    }
    writer = parse_writer_schema(json.dumps(plain))
    sent = everything()
    _, payload = compile_reader(writer, binding, 0)(written(writer, datum))
    required = {name: getattr(sent, name) for name in datum}
    assert payload == Everything(**required)


def bare(field: dict[str, Any]) -> dict[str, Any]:
    kind = field["type"]
    return {**field, "type": kind["type"]} if isinstance(kind, dict) and "logicalType" in kind else field


@pytest.mark.parametrize("kind", ['"int"', '{"type": "array", "items": "string"}', '["null", "int"]'])
def test_a_writer_that_cannot_be_resolved_is_a_mismatch(codec: Codec, kind: str) -> None:
    text = f'{{"type": "record", "name": "tests.demo.Growing", "fields": [{{"name": "title", "type": {kind}}}]}}'
    read = compile_reader(parse_writer_schema(text), codec.catalog.binding("tests.demo.Growing"), 0)
    for body in (b"", b"\x00", b"\x02\x02", b"\x02\x02\x00"):
        with pytest.raises(SchemaMismatch):
            read(body or b"\x02")


def test_versions_that_share_a_fingerprint_are_read_as_the_latest(codec: Codec) -> None:
    current = codec.catalog.current("tests.demo.Growing")
    edited = json.loads(current.text)
    edited["doc"] = "The canonical form leaves this out."
    assert fingerprint_of(parse_schema(json.dumps(edited))) == current.fingerprint
    assert codec.catalog.by_fingerprint(current.fingerprint) is current


@pytest.mark.parametrize("price", [10**10, -(10**10), 10**40])
def test_a_decimal_of_more_digits_than_its_type_has_is_not_rounded(codec: Codec, price: int) -> None:
    whole = codec.encode(everything(price=Decimal("0.01")), "t")
    digits = price.to_bytes(20, "big", signed=True)
    assert whole.count(b"\x02\x01") == 1  # The price: one byte, which is 1.
    value = whole.replace(b"\x02\x01", bytes([2 * len(digits)]) + digits)
    with pytest.raises(CorruptPayload, match="a decimal of more than 10 digits"):
        codec.decode(value)


def test_a_schema_nobody_here_has_is_unknown(codec: Codec) -> None:
    with pytest.raises(UnknownSchema, match="0102030405060708"):
        codec.decode(SINGLE_OBJECT + bytes(range(1, 9)) + b"body")
