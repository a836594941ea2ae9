"""What goes into the codec comes out of it, and what does not fit is named."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from schemas import Codec, ModelInvalid, PayloadInvalid, shipped
from schemas.codec import SINGLE_OBJECT
from schemas.models.email import SendEmail
from schemas.models.webhook import DeliverWebhook
from tests.unit.schemas.demo.models.demo import Circle, Color, Everything, Node, Point
from tests.unit.schemas.samples import EMAILS, IMAGES, TOPIC, WEBHOOKS, demo_codec, everything

CODEC = Codec(shipped())
DEMO = demo_codec()


@given(EMAILS | IMAGES | WEBHOOKS)
def test_shipped_payloads_survive_the_round_trip(payload: Any) -> None:
    value = CODEC.encode(payload, TOPIC)
    assert CODEC.decode(value) == (payload.JOB_TYPE, payload)
    assert CODEC.job_type_of_value(value) == payload.JOB_TYPE


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"either": "text"},
        {"either": True},
        {"either": None},
        {"word": "RED"},  # a text that looks like a symbol stays a text
        {"shape": Point(x=1.0, y=1.0)},
        {"shape": None},
        {"until": None, "local": None, "accent": None},
        {"price": Decimal("0.00")},
        {"price": Decimal("99999999.99")},
        {"raw": b""},
    ],
)
def test_every_kind_of_type_survives_the_round_trip(changed: dict[str, Any]) -> None:
    payload = everything(**changed)
    assert DEMO.decode(DEMO.encode(payload, TOPIC)) == ("tests.demo.Everything", payload)


def test_single_object_framing_is_that_of_the_specification() -> None:
    value = CODEC.encode(SendEmail(to=[], subject="s", text="t"), TOPIC)
    assert (
        value == SINGLE_OBJECT + shipped().current("jobs.email.SendEmail").fingerprint + b"\x00\x02s\x02t\x00\x00\x00"
    )


@pytest.mark.parametrize(
    ("changed", "field", "expected"),
    [
        ({"id": "0190163d"}, "id", "a UUID"),
        ({"at": datetime(2026, 1, 31)}, "at", "a datetime with a time zone"),
        ({"at": 5}, "at", "a datetime with a time zone"),
        ({"until": 5}, "until", "a datetime with a time zone or None"),
        ({"day": "2026-01-31"}, "day", "a datetime.date"),
        ({"price": Decimal("1.234")}, "price", "a Decimal of at most 10 digits, 2 of them after the point"),
        ({"price": Decimal(10**8)}, "price", "a Decimal of at most 10 digits, 2 of them after the point"),
        ({"price": Decimal("NaN")}, "price", "a Decimal of at most 10 digits, 2 of them after the point"),
        ({"price": 1.5}, "price", "a Decimal of at most 10 digits, 2 of them after the point"),
        ({"raw": "text"}, "raw", "bytes"),
        ({"digest": b"12345"}, "digest", "4 bytes"),
        ({"class_": 1}, "class", "a text (str)"),
        ({"class_": "\ud800"}, "class", "a text without lone surrogates"),
        ({"numbers": "123"}, "numbers", "a list"),
        ({"numbers": [1, 2**31]}, "numbers[1]", "a whole number of 32 bits, -2147483648 to 2147483647"),
        ({"numbers": [1.5]}, "numbers[0]", "a whole number of 32 bits, -2147483648 to 2147483647"),
        ({"ratios": {"a": "b"}}, "ratios['a']", "a number or None"),
        ({"ratios": {1: 1.0}}, "ratios", "a text (str)"),
        ({"color": "RED"}, "color", "one of Color.RED, Color.BLUE"),
        ({"point": Circle(x=1.0, r=1.0)}, "point", "an instance of Point"),
        ({"point": Point(x=1.0, y=1e300)}, "point.y", "a number of 32-bit floating point"),
        ({"path": [Point(x="1")]}, "path[0].x", "a number"),  # type: ignore[arg-type]
        ({"either": 1.5}, "either", "a text (str) or a whole number of 64 bits"),
        ({"shape": Color.RED}, "shape", "an instance of Point or an instance of Circle or None"),
        ({"flag": 1}, "flag", "True or False"),
        ({"tree": Node(value=1, next=Node(value=None))}, "tree.next.value", "a whole number"),  # type: ignore[arg-type]
    ],
)
def test_a_payload_that_does_not_fit_is_refused_naming_the_field(
    changed: dict[str, Any], field: str, expected: str
) -> None:
    with pytest.raises(PayloadInvalid) as refused:
        DEMO.encode(everything(**changed), TOPIC)
    assert refused.value.job_type == "tests.demo.Everything"
    assert refused.value.field == field
    assert refused.value.expected.startswith(expected)


def test_nesting_that_no_worker_would_read_is_refused_before_it_is_sent() -> None:
    def chain(length: int) -> Node:
        node = Node(value=0)
        for _ in range(length):
            node = Node(value=0, next=node)
        return node

    DEMO.decode(DEMO.encode(everything(tree=chain(60)), TOPIC))
    for length in (64, 100_000):
        with pytest.raises(PayloadInvalid, match=r"nested|RecursionError"):
            DEMO.encode(everything(tree=chain(length)), TOPIC)


def test_a_class_that_is_no_model_is_refused_with_the_remedy() -> None:
    with pytest.raises(ModelInvalid, match=r"python -m schemas\.generate"):
        CODEC.encode({"to": []}, TOPIC)


def test_a_model_of_a_user_needs_no_registration() -> None:
    codec = Codec(shipped())
    payload = everything()
    assert codec.decode(codec.encode(payload, TOPIC)) == (Everything.JOB_TYPE, payload)


def test_lists_and_dicts_of_two_payloads_are_never_shared() -> None:
    value = CODEC.encode(DeliverWebhook(url="u", event="e", body="b"), TOPIC)
    first, second = CODEC.decode(value)[1], CODEC.decode(value)[1]
    assert first.headers is not second.headers


def test_models_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        everything().flag = False  # type: ignore[misc]
