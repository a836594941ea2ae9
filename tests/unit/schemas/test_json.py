"""Payloads as people type them."""

from __future__ import annotations

from typing import Any

import pytest

from schemas import Codec, PayloadInvalid, UnknownJobType, shipped
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
