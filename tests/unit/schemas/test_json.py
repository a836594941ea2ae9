"""Payloads as people type them."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, time
from decimal import Decimal
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest

from schemas import Catalog, Codec, PayloadInvalid, UnknownJobType, generate, shipped
from schemas.models.image import Fit, ResizeImage
from tests.unit.schemas.samples import demo_codec, everything

CODEC = Codec(shipped())
IMAGE = {"source": "a.png", "target": "b.png", "width": 1, "height": 2}
EVERYTHING = {
    "id": "0190163d-8694-739b-aea5-966c26f8ad91",
    "at": "2026-01-31T08:15:30.123Z",
    "until": "2026-01-31T09:15:30.123456+01:00",
    "local": "2026-01-31T08:15:30.123",
    "day": "2026-01-31",
    "clock": "08:15:30.123",
    "price": "-12345.67",
    "digest": "AAECAw==",
    "class": "economy",
    "numbers": [-1, 0, 2147483647],
    "ratios": {"a": 0.5, "b": None},
    "color": "BLUE",
    "accent": "RED",
    "point": {"x": 1.0, "y": 2.5},
    "path": [{"x": 1.0}, {"x": 2.0}],
    "places": {"home": {"x": 3.0}},
    "either": 1099511627776,
    "word": "BLUE",
    "shape": {"x": 1.0, "r": 2.0},
    "tree": {"value": 1, "next": {"value": 2}},
    "flag": True,
}


def test_defaults_may_be_left_out() -> None:
    assert CODEC.from_json("jobs.image.ResizeImage", IMAGE) == ResizeImage(
        source="a.png", target="b.png", width=1, height=2, fit=Fit.CONTAIN
    )


def test_every_kind_of_type() -> None:
    # A union takes the first branch that fits: a text is no symbol of an enum after it.
    assert demo_codec().from_json("tests.demo.Everything", EVERYTHING) == everything(word="BLUE")


@pytest.mark.parametrize(
    ("fields", "field", "expected"),
    [
        ({"width": "1"}, "width", "a whole number of 32 bits"),
        ({"width": 2**31}, "width", "a whole number of 32 bits"),
        ({"fit": "contain"}, "fit", "one of CONTAIN, COVER, STRETCH"),
        ({"colour": 1}, "colour", "one of the fields source, target"),
        ({"source": None}, "source", "a text"),
    ],
)
def test_the_field_that_is_wrong_is_named(fields: dict[str, Any], field: str, expected: str) -> None:
    with pytest.raises(PayloadInvalid) as raised:
        CODEC.from_json("jobs.image.ResizeImage", {**IMAGE, **fields})
    assert (raised.value.field, raised.value.expected[: len(expected)]) == (field, expected)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"at": "yesterday"}, "at"),
        ({"at": "2026-01-31T08:15:30"}, "at"),
        ({"at": 5}, "at"),
        ({"price": "1.234"}, "price"),
        ({"price": "x"}, "price"),
        ({"price": True}, "price"),
        ({"raw": "no base64!"}, "raw"),
        ({"digest": "AAEC"}, "digest"),
        ({"path": [{"x": 1.0}, {}]}, "path[1].x"),
        ({"places": {"home": {"y": 1.0, "x": None}}}, "places['home'].x"),
        ({"tree": {"value": 1, "next": {"value": "2"}}}, "tree.next.value"),
        ({"numbers": {}}, "numbers"),
        ({"ratios": []}, "ratios"),
        ({"either": 1.5}, "either"),
    ],
)
def test_the_path_to_what_is_wrong_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(PayloadInvalid) as raised:
        demo_codec().from_json("tests.demo.Everything", {**EVERYTHING, **fields})
    assert raised.value.field == field


@pytest.mark.parametrize("value", [None, [], "text", 1])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(PayloadInvalid, match="an object with the fields source, target"):
        CODEC.from_json("jobs.image.ResizeImage", value)


def test_a_missing_field_without_default_is_named() -> None:
    with pytest.raises(PayloadInvalid, match="field 'height': expected a value, since it has no default"):
        CODEC.from_json("jobs.image.ResizeImage", {name: IMAGE[name] for name in ("source", "target", "width")})


def test_an_unknown_type() -> None:
    with pytest.raises(UnknownJobType):
        CODEC.from_json("jobs.no.Such", {})


NUMBERS: dict[str, Any] = {
    "type": "record", "name": "tests.typed.Numbers",
    "fields": [
        {"name": "i", "type": "int", "default": 0}, {"name": "l", "type": "long", "default": 0},
        {"name": "f", "type": "float", "default": 0}, {"name": "d", "type": "double", "default": 0},
        {"name": "b", "type": "boolean", "default": False}, {"name": "s", "type": "string", "default": ""},
        {"name": "p", "type": {"type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 20}, "default": ""},
        {"name": "x", "type": {"type": "fixed", "name": "Two", "size": 2}, "default": "ab"},
        {"name": "y", "type": "bytes", "default": ""},
        {"name": "m", "type": {"type": "map", "values": "int"}, "default": {}},
        {"name": "o", "type": ["null", "int", "double"], "default": None},
        {"name": "ms", "type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 0},
        {"name": "us", "type": {"type": "long", "logicalType": "timestamp-micros"}, "default": 0},
        {"name": "t", "type": {"type": "int", "logicalType": "time-millis"}, "default": 0},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """A codec with a type of one short field a kind."""
    root = tmp_path_factory.mktemp("typed")
    (root / "schemas/typed").mkdir(parents=True)
    (root / "schemas/typed/Numbers.v1.avsc").write_text(json.dumps(NUMBERS))
    generate.write(root / "schemas", root / "models")
    spec = spec_from_file_location("models_of_typed_numbers", root / "models/typed.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    codec = Codec(Catalog())
    codec.catalog.add_model(module.Numbers)
    return codec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"p": 12345678901234567.89', Decimal("12345678901234567.89")),
        ('"p": "12345678901234567.89"', Decimal("12345678901234567.89")), ('"p": 1e3', Decimal(1000)),
        ('"p": 0.00000000000000000001', Decimal("1e-20")), ('"p": -0.5', Decimal("-0.5")),
        ('"l": 9223372036854775807', 2**63 - 1), ('"d": 0.1', 0.1), ('"d": 9007199254740992', 2**53), ('"f": 0.1', 0.1),
        ('"f": 16777216', 16777216), ('"o": 1.5', 1.5), ('"o": 3', 3),
        ('"y": "AAE="', b"\0\1"), ('"x": "AAE="', b"\0\1"),
        ('"us": "2026-01-31T08:15:30.123456Z"', datetime(2026, 1, 31, 8, 15, 30, 123456, UTC)),
        ('"ms": "2026-01-31T08:15:30.123000+00:00"', datetime(2026, 1, 31, 8, 15, 30, 123000, UTC)),
        ('"t": "08:15:30,120"', time(8, 15, 30, 120000)), ('\n\t"s" : "\\ud83d\\ude80"\r', "\U0001f680"),
    ],
)  # fmt: skip
def test_what_is_typed_arrives_exactly(typed: Codec, text: str, expected: Any) -> None:
    name = text.split('"')[1]
    job = typed.from_text("tests.typed.Numbers", f"\ufeff{{{text}}} ")
    assert getattr(job, name) == expected
    assert type(getattr(job, name)) in {type(expected), float, int}
    read = typed.decode(typed.encode(job, "t"))[1]
    assert getattr(read, name) == pytest.approx(expected) if name == "f" else getattr(read, name) == expected


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('"d": 1e400', "d"), ('"d": -1e400', "d"), ('"d": 1e-400', "d"), ('"f": 1e39', "f"), ('"f": 1e-60', "f"),
        ('"d": 9007199254740993', "d"), ('"f": 16777217', "f"), ('"d": ' + "9" * 400, "d"), ('"d": true', "d"),
        ('"d": "1.5"', "d"), ('"i": 1.0', "i"), ('"i": 1e2', "i"), ('"i": true', "i"), ('"i": 2147483648', "i"),
        ('"l": 9223372036854775808', "l"), ('"l": -9223372036854775809', "l"), ('"b": 1', "b"), ('"b": "true"', "b"),
        ('"s": 1', "s"), ('"s": "\\ud800"', "s"), ('"m": {"\\ud800": 1}', "m"), ('"m": {"a": 1.0}', "m['a']"),
        ('"p": 1e400', "p"), ('"p": "NaN"', "p"), ('"p": "Infinity"', "p"), ('"p": 0.000000000000000000001', "p"),
        ('"p": true', "p"), ('"x": "AA=="', "x"), ('"x": "AAEC"', "x"), ('"y": "AAF="', "y"), ('"y": "A"', "y"),
        ('"y": [1]', "y"), ('"y": "\\u00e9"', "y"), ('"o": "1"', "o"), ('"o": true', "o"),
        ('"i": 1, "i": 2', "i"), ('"m": {"a": 1, "a": 1}', "a"), ('"nobody": 1', "nobody"),
        ('"us": "2026-01-31T08:15:30.1234567Z"', "us"), ('"ms": "2026-01-31T08:15:30.1234Z"', "ms"),
        ('"ms": "2026-01-31T08:15:30"', "ms"), ('"ms": 0', "ms"), ('"t": "08:15:30+01:00"', "t"),
        ('"s": ' + "[" * 100_000, ""), ('"m": ' + '{"a":' * 100_000, ""),
    ],
)  # fmt: skip
def test_what_would_arrive_otherwise_is_refused_with_its_field(typed: Codec, text: str, field: str) -> None:
    with pytest.raises(PayloadInvalid) as raised:
        typed.from_text("tests.typed.Numbers", f"{{{text}}}")
    assert raised.value.field == field
    assert len(str(raised.value)) < 500
    str(raised.value).encode()


@pytest.mark.parametrize(
    "text", ["", "{", "'a'", '{"d": NaN}', '{"d": -Infinity}', '{"i": ' + "9" * 5000 + "}",
             '{"p": 1e99999999999999999999}', "{} {}", '{"s": "\n"}', '{"a": 1,}', "\x00"],
)  # fmt: skip
def test_what_is_not_json_is_a_value_error(typed: Codec, text: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        typed.from_text("tests.typed.Numbers", text)
    assert not isinstance(raised.value, PayloadInvalid)
    assert len(str(raised.value)) < 200


def test_a_number_is_shown_as_it_was_typed(typed: Codec) -> None:
    with pytest.raises(PayloadInvalid, match=r"field 'i': expected a whole number of 32 bits.*, got 1\.50$"):
        typed.from_text("tests.typed.Numbers", '{"i": 1.50}')
