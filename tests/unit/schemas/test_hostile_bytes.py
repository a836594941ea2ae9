"""Whatever the bytes of a value are, decoding answers quickly, with a payload or with Undecodable."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import (
    Codec,
    CorruptPayload,
    MissingPayload,
    SchemaInvalid,
    TrailingBytes,
    TruncatedPayload,
    Undecodable,
    UnknownFraming,
    UnknownJobType,
    UnknownSchema,
    shipped,
)
from schemas.avro.hostile_bytes import hazard
from schemas.catalog import Catalog
from schemas.codec import SINGLE_OBJECT
from schemas.errors import AboveBounds
from schemas.job_schema import parse_writer_schema
from schemas.limits import Limits
from schemas.models.email import SendEmail
from tests.unit.schemas.samples import DEMO_SCHEMAS, TOPIC, demo_codec, everything, varint

DEMO = demo_codec()
CODEC = Codec(shipped())
PREFIXES = [
    SINGLE_OBJECT + codec.catalog.current(job_type).fingerprint for codec in (DEMO, CODEC) for job_type in codec.catalog
]
VALUES = [
    DEMO.encode(everything(), TOPIC),
    CODEC.encode(SendEmail(to=["a@example.com"], subject="s", text="t" * 100), TOPIC),
]
EMAIL_PREFIX = VALUES[1][:10]


def decode_all(value: bytes | None) -> None:
    for codec in (DEMO, CODEC):
        try:
            codec.decode(value)
        except Undecodable as error:
            assert str(error)
        codec.missing_schema_id(value)
        codec.job_type_of_value(value)


@given(st.none() | st.binary(max_size=300))
@example(b"\x00")
@example(b"\xc3\x01")
def test_random_bytes(value: bytes | None) -> None:
    decode_all(value)


@given(st.sampled_from(PREFIXES), st.binary(max_size=300))
def test_random_bodies(prefix: bytes, body: bytes) -> None:
    decode_all(prefix + body)


@given(st.sampled_from(PREFIXES), st.lists(st.integers(-(2**63), 2**63 - 1).map(varint) | st.binary(max_size=4)))
def test_random_numbers_where_lengths_and_counts_are_read(prefix: bytes, parts: list[bytes]) -> None:
    decode_all(prefix + b"".join(parts))


@given(st.sampled_from(VALUES), st.data())
def test_one_changed_byte(value: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(value) - 1))
    decode_all(value[:at] + bytes([data.draw(st.integers(0, 255))]) + value[at + 1 :])


def test_twenty_thousand_mutations_of_good_values() -> None:
    chance = random.Random(7)
    for _ in range(20_000):
        value = bytearray(chance.choice(VALUES))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(10, len(value))
            value[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 4))
        decode_all(bytes(value))


@pytest.mark.parametrize("value", VALUES)
def test_every_truncation_is_undecodable(value: bytes) -> None:
    for end in range(len(value)):
        with pytest.raises(Undecodable):
            DEMO.decode(value[:end])
        with pytest.raises(Undecodable):
            CODEC.decode(value[:end])


@pytest.mark.parametrize(
    "body",
    [
        varint(2**60),
        varint(2**62) + b"\x02a" * 10,
        varint(-(2**63)) + varint(5),
        varint(2) + varint(2**60) + b"abc",
        varint(2) + varint(2**31) + b"abc",
        varint(2) + varint(-1) + b"abc",
        varint(-1) + varint(-9) + varint(2**40),
        b"\xff" * 100_000,
        b"\x02" * 1_000_000,
    ],
)
def test_huge_declared_lengths_cost_no_more_than_the_bytes_that_came(body: bytes) -> None:
    # Memory stands for time as well: every item that is read is kept until the whole is read.
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable):
            CODEC.decode(EMAIL_PREFIX + body)
        assert tracemalloc.get_traced_memory()[1] < 32 * len(body) + 1_000_000
    finally:
        tracemalloc.stop()


def recursive_body(depth: int) -> bytes:
    whole = VALUES[0]
    node = varint(1) + varint(1) + varint(2) + varint(0)  # value 1, a next one: value 2, none
    at = whole.rindex(node)
    return whole[:at] + (varint(1) + varint(1)) * depth + varint(2) + varint(0) + whole[at + len(node) :]


def test_nesting_within_the_limit_is_read() -> None:
    DEMO.decode(recursive_body(60))


@pytest.mark.parametrize("depth", [64, 5_000, 500_000])
def test_deep_nesting_is_refused_before_it_reaches_the_stack(depth: int) -> None:
    with pytest.raises(AboveBounds, match="nested deeper than STREAMS_MAX_DEPTH=64"):
        DEMO.decode(recursive_body(depth))


def test_a_bound_on_depth_can_be_set() -> None:
    deeper = Codec(DEMO.catalog, limits=Limits(depth=100))
    deeper.decode(recursive_body(90))
    with pytest.raises(AboveBounds, match="STREAMS_MAX_DEPTH=100"):
        deeper.decode(recursive_body(110))


def test_items_are_counted_over_all_blocks_before_they_are_made() -> None:
    prefix = EMAIL_PREFIX
    address = varint(1) + b"a"
    rest = varint(0) * 4
    codec = Codec(shipped(), limits=Limits(items=1000))
    for counts in ([1000], [1] * 1000):
        blocks = b"".join(varint(count) + address * count for count in counts) + varint(0)
        with pytest.raises(Undecodable) as raised:
            codec.decode(prefix + blocks + b"\xff" * 3)
        assert not isinstance(raised.value, AboveBounds)
    for counts in ([1001], [1] * 1001, [500, 501]):
        blocks = b"".join(varint(count) + address * count for count in counts) + varint(0)
        with pytest.raises(AboveBounds, match="STREAMS_MAX_ITEMS=1000"):
            codec.decode(prefix + blocks + rest)


def lattice(levels: int, leaf: str = '"null"', second: str = '"{}"') -> str:
    """A schema of so many types, each of which has the next one twice: 2^levels when it is unfolded."""
    text = f'{{"type": "record", "name": "n.L{levels}", "fields": [{{"name": "a", "type": {leaf}}}]}}'
    for level in reversed(range(levels)):
        again = second.format(f"n.L{level + 1}")
        fields = f'[{{"name": "a", "type": {text}}}, {{"name": "b", "type": {again}}}]'
        text = f'{{"type": "record", "name": "n.L{level}", "fields": {fields}}}'
    return text


@pytest.mark.parametrize("leaf", ['"null"', '"long"', '{"type": "array", "items": "long"}'])
@pytest.mark.parametrize("second", ['"{}"', '["null", "{}"]', '{{"type": "array", "items": "{}"}}'])
def test_a_schema_that_stands_for_too_many_types_is_refused_before_anything_is_made_of_it(
    leaf: str, second: str
) -> None:
    with pytest.raises(SchemaInvalid, match="STREAMS_MAX_SCHEMA_NODES=10000"):
        parse_writer_schema(lattice(28, leaf, second))
    parse_writer_schema(lattice(8, leaf, second if "array" not in second or leaf != '"null"' else '"{}"'))


@pytest.mark.parametrize("depth", [250, 330, 480, 1_000, 20_000])
def test_schemas_that_are_nested_too_deep_are_refused(depth: int) -> None:
    kind = '{"type": "array", "items": ' * depth + '"long"' + "}" * depth
    with pytest.raises(SchemaInvalid, match="nested"):
        parse_writer_schema(f'{{"type": "record", "name": "n.R", "fields": [{{"name": "f", "type": {kind}}}]}}')


def test_a_chain_of_names_is_as_deep_as_what_it_stands_for() -> None:
    records = ['{"type": "record", "name": "n.C0", "fields": [{"name": "f", "type": "long"}]}'] + [
        f'{{"type": "record", "name": "n.C{n}", "fields": [{{"name": "f", "type": "n.C{n - 1}"}}]}}'
        for n in range(1, 2_000)
    ]
    fields = ", ".join(f'{{"name": "f{n}", "type": {each}}}' for n, each in enumerate(records))
    with pytest.raises(SchemaInvalid):
        parse_writer_schema(f'{{"type": "record", "name": "n.R", "fields": [{fields}]}}', Limits(schema_nodes=10**8))


def test_a_text_that_is_too_long_is_not_even_parsed() -> None:
    with pytest.raises(SchemaInvalid, match=r"its text has 1,000,\d+ characters; STREAMS_MAX_SCHEMA_NODES"):
        parse_writer_schema('{"type": "record", "name": "n.R", "fields": [], "doc": "' + "x" * 1_000_000 + '"}')


@pytest.mark.parametrize("items", ['"null"', '{"type": "record", "name": "E", "fields": []}',
                                   '{"type": "record", "name": "E", "fields": [{"name": "n", "type": "null"}]}',
                                   '{"type": "fixed", "name": "F", "size": 0}'])  # fmt: skip
def test_schemas_in_which_nothing_bounds_an_array_are_refused(items: str) -> None:
    fields = f'[{{"name": "many", "type": ["null", {{"type": "array", "items": {items}}}]}}]'
    with pytest.raises(SchemaInvalid, match="many: an array's items may not take zero bytes"):
        parse_writer_schema(f'{{"type": "record", "name": "n.R", "fields": {fields}}}')


def test_the_shipped_schemas_are_harmless() -> None:
    assert {hazard(shipped().current(job_type).parsed) for job_type in shipped()} == {None}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (lambda: None, MissingPayload),
        (lambda: b"", MissingPayload),
        (lambda: b"{}", UnknownFraming),
        (lambda: b"\xc3\x01short", UnknownFraming),
        (lambda: b"\x00\x00", UnknownFraming),
        (lambda: b"\x00\x00\x00\x00\x07body", UnknownSchema),
        (lambda: SINGLE_OBJECT + b"\x00" * 8 + b"body", UnknownSchema),
        (lambda: VALUES[1] + b"\x00", TrailingBytes),
        (lambda: VALUES[1][:-1], TruncatedPayload),
        (lambda: EMAIL_PREFIX + b"\x00\x04\xff\xfe\x00\x00\x00\x00", CorruptPayload),
        (lambda: EMAIL_PREFIX + b"\x00\x00\x00\x0e", CorruptPayload),
    ],
)
def test_the_error_says_what_is_wrong(value: Callable[[], bytes | None], error: type[Undecodable]) -> None:
    with pytest.raises(Undecodable) as raised:
        CODEC.decode(value())
    assert type(raised.value) is error


def test_a_schema_without_a_model_is_an_unknown_job_type_until_there_is_one() -> None:
    codec = Codec(Catalog.load(DEMO_SCHEMAS))
    for _ in range(2):
        with pytest.raises(UnknownJobType) as raised:
            codec.decode(VALUES[0])
        assert raised.value.name == "tests.demo.Everything"
    codec.catalog.add_model(type(everything()))
    assert codec.decode(VALUES[0])[1] == everything()
