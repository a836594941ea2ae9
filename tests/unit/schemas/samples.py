"""Payloads and codecs that several tests of this directory use."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from hypothesis import strategies as st

from schemas import Catalog, Codec
from schemas.models.email import SendEmail
from schemas.models.image import Fit, Format, ResizeImage
from schemas.models.webhook import DeliverWebhook
from tests.unit.schemas.demo.models.demo import Circle, Color, Everything, Growing, Node, Point

DEMO_SCHEMAS = Path(__file__).parent / "demo" / "schemas"
TOPIC = "jobs.demo"

_TEXT = st.text(max_size=20)
_INT = st.integers(-(2**31), 2**31 - 1)

EMAILS = st.builds(SendEmail, to=st.lists(_TEXT), subject=_TEXT, text=_TEXT, html=st.none() | _TEXT)
IMAGES = st.builds(
    ResizeImage,
    source=_TEXT,
    target=_TEXT,
    width=_INT,
    height=_INT,
    fit=st.sampled_from(Fit),
    format=st.sampled_from(Format),
)
WEBHOOKS = st.builds(DeliverWebhook, url=_TEXT, event=_TEXT, body=_TEXT, headers=st.dictionaries(_TEXT, _TEXT))


def everything(**changed: object) -> Everything:
    """A payload with a value of every kind."""
    fields: dict[str, object] = {
        "id": UUID("0190163d-8694-739b-aea5-966c26f8ad91"),
        "at": datetime(2026, 1, 31, 8, 15, 30, 123000, UTC),
        "until": datetime(2026, 1, 31, 8, 15, 30, 123456, UTC),
        "local": datetime(2026, 1, 31, 8, 15, 30, 123000),
        "day": date(2026, 1, 31),
        "clock": time(8, 15, 30, 123000),
        "price": Decimal("-12345.67"),
        "digest": b"\x00\x01\x02\x03",
        "class_": "economy",
        "numbers": [-1, 0, 2**31 - 1],
        "ratios": {"a": 0.5, "b": None},
        "color": Color.BLUE,
        "accent": Color.RED,
        "point": Point(x=1.0, y=2.5),
        "path": [Point(x=1.0), Point(x=2.0)],
        "places": {"home": Point(x=3.0)},
        "either": 2**40,
        "word": Color.BLUE,
        "shape": Circle(x=1.0, r=2.0),
        "tree": Node(value=1, next=Node(value=2)),
        "flag": True,
    }
    return Everything(**{**fields, **changed})  # type: ignore[arg-type]


def demo_codec() -> Codec:
    """A codec that knows the demo's job types."""
    catalog = Catalog.load(DEMO_SCHEMAS)
    catalog.add_model(Everything)
    catalog.add_model(Growing)
    return Codec(catalog)


def varint(number: int) -> bytes:
    """Avro's zigzag encoding of a long."""
    rest = ((number << 1) ^ (number >> 63)) & (2**64 - 1)
    encoded = b""
    while rest > 0x7F:
        encoded += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return encoded + bytes([rest])
