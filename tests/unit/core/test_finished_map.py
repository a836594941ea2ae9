"""The finished-offset map: what is written is read back, and whatever is read, nothing but MapInvalid comes of it."""

from __future__ import annotations

import base64
import tracemalloc
from bisect import bisect_right
from itertools import accumulate, chain

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.core.offsets import finished_map
from streams.core.offsets.commit_metadata import MAP_LIMIT
from streams.core.offsets.finished_map import TOKEN_LIMIT, MapInvalid, decode, encode
from tests.unit.core.records import runs_of

#: Around the borders of literals, of bytes, and of the lengths of a token's number.
lengths = st.one_of(
    st.integers(1, 80),
    st.sampled_from([31, 32, 63, 64, 65, 71, 72, 127, 128, 4095, 4096, 4102, 4103, 524_287, 524_288]),
)
finished_lengths = st.one_of(lengths, st.integers(1, 2**50))
histories = st.lists(st.tuples(lengths.filter(lambda n: n < 5000), finished_lengths), max_size=30)


def tokens(data: bytes) -> str:
    return "1" + base64.b64encode(data).decode()


@given(histories)
@example([])
@example([(1, 1)])
@example([(63, 64), (64, 63)])
@example([(3, 2**50)])
def test_reads_back_what_was_written(pairs: list[tuple[int, int]]) -> None:
    runs = list(chain.from_iterable(pairs))
    assert decode(encode(runs)) == runs


@given(st.lists(st.booleans(), max_size=400))
def test_reads_back_any_pattern(finished: list[bool]) -> None:
    runs = list(runs_of(finished))
    assert decode(encode(runs)) == runs


def test_nothing_finished_beyond_the_watermark_is_no_metadata() -> None:
    assert encode([]) == ""
    assert decode("") == []


def test_a_long_run_costs_a_few_bytes() -> None:
    assert len(encode([1, 10**12])) < 20


def test_the_map_is_stable() -> None:
    """A map that a worker of an earlier release has committed is still read: the bytes are part of the format."""
    literal, unfinished, finished = b"\x03\x72", b"\x9c\x06", b"\xa2\x1f"
    assert encode([1, 1, 2, 3, 200, 1000]) == tokens(literal + unfinished + finished) == "1A3KcBqIf"


@given(st.integers(0, MAP_LIMIT * 3))
def test_a_literal_costs_a_bit_an_offset(count: int) -> None:
    size = len(encode([1, 1] * count))
    assert size <= 1 + (count * 2 / 8 + 4) * 4 / 3 + 4


def test_the_limits_belong_together() -> None:
    assert len(tokens(bytes(TOKEN_LIMIT))) <= MAP_LIMIT < len(tokens(bytes(TOKEN_LIMIT + 3)))


# -- what others have written into the metadata -----------------------------------------------------------------------


@given(st.text(max_size=200))
@example("1====")
@example("1é")
@example("1A")
@example("2AAAA")
@example("{}")
def test_garbage_is_a_map_or_invalid(text: str) -> None:
    assert_map_or_invalid(text)


@given(st.binary(max_size=300))
@example(b"\xff" * 10)
@example(b"\x80" * 4000)
@example(b"\x01" * 4000)
@example(b"\x00" * 4000)
@example(b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
def test_garbage_tokens_are_a_map_or_invalid(data: bytes) -> None:
    assert_map_or_invalid(tokens(data))


def assert_map_or_invalid(text: str) -> None:
    try:
        runs = decode(text)
    except MapInvalid:
        return
    assert len(runs) % 2 == 0
    assert all(length > 0 for length in runs[1:])
    assert not runs or runs[0] >= 0
    assert sum(runs[::2]) <= finished_map._MOST_UNFINISHED


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2AAAA", "version"),
        ("1*", "base64"),
        ("1AAA", "base64"),
        (tokens(b"\x80"), "within a number"),
        (tokens(b"\x80" * 11 + b"\x01"), "within a number"),
        (tokens(b"\x05\x00"), "within a literal"),
    ],
)
def test_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(MapInvalid, match=why):
        decode(text)


@pytest.mark.parametrize(
    "data",
    [
        b"\xfc\xff\xff\xff\xff\xff\xff\xff\x7f",  # one unfinished run of 2^61
        b"\xf8\xff\xff\x03" * 700,  # unfinished runs that only together are too many
        b"\xfc\xff\xff\xff\xff\xff\xff\xff\x7f\x06",  # the same, and a finished offset behind it
        b"\xf8\xff\xff\x03\x06" * 700,
        b"\xfd\xff\xff\xff\xff\xff\xff\xff\x7f",  # a literal of 2^62 bytes
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" * 300,  # finished runs of 2^61
    ],
)
def test_a_few_bytes_cannot_ask_for_much_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        assert_map_or_invalid(tokens(data))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


@given(histories.filter(bool), st.data())
def test_a_map_that_was_cut_off_is_a_map_or_invalid(pairs: list[tuple[int, int]], data: st.DataObject) -> None:
    text = encode(chain.from_iterable(pairs))
    assert_map_or_invalid(text[: data.draw(st.integers(0, len(text)))])


# -- a map that does not fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [[3, 4103], [1, 1], [200, 1], [2, 70], [1, 2**40]], ids=str)
@pytest.mark.parametrize("fill", range(1, 41, 3))
def test_a_cut_map_says_less_never_more(fill: int, tail: list[int]) -> None:
    """To forget that an offset is finished costs a repetition; to call one finished that is not loses a job."""
    for start in (740, 757, 766, 900):
        runs = [1, 100] * start + [1, 1] * fill + tail * 60
        metadata = encode(runs)
        assert len(metadata) <= MAP_LIMIT
        at, ends = 0, False
        said, borders = decode(metadata), list(accumulate(runs))
        for length in said:
            if ends:
                assert is_finished(at, borders)
                assert is_finished(at + length - 1, borders)
                assert bisect_right(borders, at) == bisect_right(borders, at + length - 1)
            at += length
            ends = not ends
        assert sum(said[1::2]) > 50_000


def is_finished(offset: int, borders: list[int]) -> bool:
    return bisect_right(borders, offset) % 2 == 1
