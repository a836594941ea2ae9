"""Headers as one value of bytes: what went in comes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.timers.packing import packed, unpacked

#: Kafka's names are UTF-8, so no half of a surrogate pair is in one.
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=300)), max_size=20)


@given(HEADERS)
def test_what_went_in_comes_out(headers: list[tuple[str, bytes | None]]) -> None:
    assert unpacked(packed(headers)) == headers


@given(HEADERS, HEADERS)
def test_other_headers_are_other_bytes(
    one: list[tuple[str, bytes | None]], two: list[tuple[str, bytes | None]]
) -> None:
    assert (packed(one) == packed(two)) == (one == two)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("", b"")],
        [("", None)],
        [("name", None), ("name", b""), ("name", b"x"), ("name", None)],
        [("é", b"\xff\x00"), ("語😀", b"\xc3\xa9")],
        [("large", bytes(1_000_000))],
        [(f"n{number}", b"%d" % number) for number in range(5_000)],
    ],
    ids=["none", "empty", "null", "nulls and empty ones", "no ASCII", "large", "many"],
)
def test_nulls_empty_values_names_given_twice_and_large_ones(headers: list[tuple[str, bytes | None]]) -> None:
    assert unpacked(packed(headers)) == headers
