"""What is handled: ranges that go into a commit and come back, readable for a worker's tracker too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.offsets.commit_metadata import MAP_LIMIT
from streams.core.offsets.finished_map import MapInvalid
from streams.core.offsets.tracker import OffsetTracker
from streams.dead.handled.offsets import CLAIM_LIMIT, Handled, join, split

OFFSETS = st.sets(st.integers(0, 300))


@given(st.integers(0, 300), st.lists(OFFSETS, max_size=4))
def test_it_holds_what_was_put_into_it(watermark: int, batches: list[set[int]]) -> None:
    handled = Handled(watermark)
    for batch in batches:
        handled = handled.and_offsets(batch)
    everything = set(range(watermark)).union(*batches)
    assert {offset for offset in range(400) if offset in handled} == everything
    assert handled.watermark not in everything
    assert all(start > handled.watermark and start < end for start, end in handled.ranges)
    assert all(handled.ranges[at][1] < handled.ranges[at + 1][0] for at in range(len(handled.ranges) - 1))


@given(st.integers(0, 300), OFFSETS)
def test_it_comes_back_from_a_commit_for_us_and_for_a_tracker(watermark: int, offsets: set[int]) -> None:
    handled = Handled(watermark).and_offsets(offsets)
    assert handled.fits()
    assert Handled.read(handled.watermark, handled.text) == handled
    tracker = OffsetTracker(handled.watermark, handled.text)
    assert [offset for offset in range(handled.watermark, 301) if tracker.read(offset)] == [
        offset for offset in range(handled.watermark, 301) if offset not in handled
    ]


@given(st.integers(0, 300), OFFSETS, st.integers(0, 400))
def test_what_has_left_the_log_is_dealt_with(watermark: int, offsets: set[int], start: int) -> None:
    handled = Handled(watermark).and_offsets(offsets).from_start(start)
    assert {offset for offset in range(500) if offset in handled} == {*range(max(watermark, start)), *offsets}


def test_a_letter_far_ahead_of_many_others_fits() -> None:
    assert Handled(0).and_offsets([900_000]).fits()


def test_what_would_be_cut_off_does_not_fit() -> None:
    scattered = Handled(0).and_offsets(range(1, 40_000, 2))
    assert not scattered.fits()
    assert len(scattered.text) <= MAP_LIMIT, "the map is cut silently, and only the comparison tells"


def test_more_than_can_be_read_back_does_not_fit() -> None:
    assert not Handled(0).and_offsets([1_000_001]).fits()


@pytest.mark.parametrize("chunk", [50, 500])
def test_a_chunk_that_fits_fits_whichever_of_its_letters_are_refused(chunk: int) -> None:
    """Find the most scattered map that admits a chunk, then leave every other letter of the chunk out."""
    base = 20_000
    while True:
        before = Handled(0).and_offsets(range(1, base, 2))
        offsets = range(base + 2, base + 2 + chunk)
        if not before.and_offsets(offsets).fits(chunk):
            break
        base += 64
    admitted = Handled(0).and_offsets(range(1, base - 64, 2))
    offsets = range(base - 62, base - 62 + chunk)
    assert admitted.and_offsets(offsets).fits(chunk)
    for step in (2, 3, 8):
        assert admitted.and_offsets(offsets[::step]).fits()


def test_the_claim_is_apart_from_the_map() -> None:
    text = Handled(5).and_offsets([7, 9]).text
    metadata = join(text, "cafe0123")
    assert split(metadata) == (text, "cafe0123")
    assert split(join(text, "")) == (text, "")
    assert len(metadata) - len(text) + len("\0") == CLAIM_LIMIT


def test_metadata_of_somebody_else() -> None:
    with pytest.raises(MapInvalid):
        Handled.read(5, "leader=x")
