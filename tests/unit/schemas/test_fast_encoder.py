"""The compiled encoder writes what fastavro writes, byte by byte, and refuses what the strict check refuses."""

from __future__ import annotations

from dataclasses import fields, replace
from io import BytesIO
from typing import Any

import fastavro
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro.binding import Binding
from schemas.avro.compiled.fast_encoder import _varint, compile_encoder
from schemas.avro.compiled.to_datum import DumperCompiler
from schemas.catalog import shipped
from tests.unit.schemas.demo.models.demo import Everything
from tests.unit.schemas.samples import EMAILS, IMAGES, WEBHOOKS, demo_codec

PAYLOADS = EMAILS | IMAGES | WEBHOOKS
ODD = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.lists(st.text()) | st.just("\ud800")


def binding_of(payload: Any) -> Binding:
    return shipped().binding_of(type(payload))


def by_fastavro(payload: Any) -> bytes:
    binding, stream = binding_of(payload), BytesIO()
    fastavro.schemaless_writer(stream, binding.schema, DumperCompiler(binding, strict=False).compile()(payload))
    return stream.getvalue()


def fits(check: Any, payload: Any) -> bool:
    try:
        return check(payload) is not None
    except Exception:
        return False


@given(PAYLOADS)
def test_the_bytes_are_fastavros(payload: Any) -> None:
    encode = compile_encoder(binding_of(payload), b"prefix")
    assert encode is not None, "the shipped jobs are of plain types"
    assert encode(payload) == b"prefix" + by_fastavro(payload)


@given(st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 63, 64, 8191, 8192, -1, 2**63 - 1, -(2**63)]))
def test_numbers_are_fastavros(number: int) -> None:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema("long"), number)
    assert _varint(number) == stream.getvalue()


@given(PAYLOADS, ODD, st.data())
def test_it_refuses_what_does_not_fit(payload: Any, odd: Any, data: st.DataObject) -> None:
    changed = replace(payload, **{data.draw(st.sampled_from([field.name for field in fields(payload)])): odd})
    encode, strict = compile_encoder(binding_of(payload), b""), DumperCompiler(binding_of(payload), strict=True)
    assert fits(encode, changed) == fits(strict.compile(), changed)


def test_subtle_types_are_left_to_fastavro() -> None:
    assert compile_encoder(demo_codec().catalog.binding_of(Everything), b"") is None
