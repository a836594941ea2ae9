"""The compiled decoder reads what fastavro reads, or leaves it to fastavro."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from schemas import Codec, Undecodable, shipped
from schemas.avro.binding import Binding
from schemas.avro.compiled.fast_decoder import Decode, compile_decoder
from schemas.avro.reader import Read, _reader
from schemas.codec import SINGLE_OBJECT
from schemas.models.email import SendEmail
from schemas.models.image import ResizeImage
from schemas.models.webhook import DeliverWebhook
from tests.unit.schemas.demo.models.demo import Everything
from tests.unit.schemas.samples import EMAILS, IMAGES, WEBHOOKS, demo_codec, varint

PAYLOADS = EMAILS | IMAGES | WEBHOOKS
MODELS = st.sampled_from([SendEmail, ResizeImage, DeliverWebhook])
CODEC = Codec(shipped())


def binding_of(model: type) -> Binding:
    return shipped().binding_of(model)


def body_of(payload: Any) -> bytes:
    return CODEC.encode(payload, "jobs.any")[10:]


@cache
def decoder(model: type) -> Decode:
    decode = compile_decoder(binding_of(model), 0)
    assert decode is not None, "the shipped jobs are of plain types"
    return decode


def quickly(model: type, body: bytes) -> Any:
    """What the compiled decoder makes of a body; None where it leaves it to fastavro."""
    try:
        return decoder(model)(body)
    except Exception:
        return None


@cache
def reader(model: type) -> Read:
    binding = binding_of(model)
    return _reader(binding, 0, None, binding.schema)


def by_fastavro(model: type, body: bytes) -> Any:
    try:
        return reader(model)(body)[1]
    except Undecodable:
        return None


@given(PAYLOADS)
def test_it_reads_what_was_written(payload: Any) -> None:
    read = quickly(type(payload), body_of(payload))
    assert read == payload
    assert list(vars(read)) == list(vars(payload))


@given(PAYLOADS, st.data())
def test_it_takes_nothing_that_fastavro_reads_otherwise(payload: Any, data: st.DataObject) -> None:
    body, model = body_of(payload), type(payload)
    at = data.draw(st.integers(0, len(body)))
    cut = data.draw(st.integers(at, min(len(body), at + 4)))
    broken = body[:at] + data.draw(st.binary(max_size=12)) + body[cut:]
    read = quickly(model, broken)
    assert read is None or read == by_fastavro(model, broken)


@given(MODELS, st.lists(st.integers(-(2**63), 2**63 - 1).map(varint) | st.binary(max_size=6)).map(b"".join))
@example(SendEmail, b"\xff" * 20)
def test_it_takes_no_random_bytes_that_fastavro_reads_otherwise(model: type, body: bytes) -> None:
    read = quickly(model, body)
    assert read is None or read == by_fastavro(model, body)


@given(PAYLOADS)
def test_a_value_that_ends_too_soon_is_never_taken(payload: Any) -> None:
    body, model = body_of(payload), type(payload)
    assert all(quickly(model, body[:end]) is None for end in range(len(body)))
    assert quickly(model, body + b"\x00") is None


def test_arrays_in_blocks_with_sizes_are_left_to_fastavro() -> None:
    """A producer may write a negative count and the block's size; fastavro reads it."""
    item = varint(1) + b"a"
    body = varint(-1) + varint(len(item)) + item + varint(0) + varint(0) * 2 + bytes(3)
    assert quickly(SendEmail, body) is None
    assert CODEC.decode(SINGLE_OBJECT + shipped().current(SendEmail.JOB_TYPE).fingerprint + body)[1].to == ["a"]


def test_subtle_types_are_left_to_fastavro() -> None:
    assert compile_decoder(demo_codec().catalog.binding_of(Everything), 0) is None
