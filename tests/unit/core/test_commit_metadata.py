"""The text of a commit, to the letter: workers of other versions read it, and what they have written is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.offsets.commit_metadata import (
    ALONE,
    BESIDE,
    CRASH_RECORD_LIMIT,
    FENCE_LIMIT,
    IDLE,
    LOG_LIMIT,
    MAP_LIMIT,
    METADATA_LIMIT,
    CommitMetadata,
    NamedJob,
)
from streams.core.offsets.crash_record import MAX_NAMED
from streams.core.offsets.fence import Fence
from streams.core.offsets.log_id import UNKNOWN
from streams.core.offsets.tracker import OffsetTracker

LOG = "AbCdEfGhIjKlMnOpQrStUv"


def tracker(*finished: int, read: int = 6, start: int = 100, log: str = "") -> OffsetTracker:
    offsets = OffsetTracker(start, f"~0@{log}")
    for offset in range(start, start + read):
        offsets.read(offset)
    for offset in finished:
        offsets.finish(offset)
    return offsets


def of_a_retry_log() -> OffsetTracker:
    offsets = tracker(103, log=LOG)
    offsets.fence = Fence(106, 7)
    return offsets


def claimed() -> OffsetTracker:
    offsets = of_a_retry_log()
    offsets.crash_record.claim()
    return offsets


def running() -> OffsetTracker:
    offsets = claimed()
    offsets.crash_record.start(101)
    offsets.crash_record.start(105, alone=True)
    return offsets


def after_deaths() -> OffsetTracker:
    commit = running().commit()
    offsets = OffsetTracker(commit.watermark, commit.metadata)
    offsets.crash_record.claim()
    return offsets


def long_run() -> OffsetTracker:
    return tracker(*range(101, 5100), read=5000)


@pytest.mark.parametrize(
    ("offsets", "metadata", "short"),
    [
        pytest.param(tracker(), "~0@", "~0@", id="nothing"),
        pytest.param(tracker(102, 103, log=LOG), f"1Aww=~0@{LOG}", f"~0@{LOG}", id="finished beyond the watermark"),
        pytest.param(long_run(), "1A/6CnAE=~0@", "~0@", id="a long run"),
        pytest.param(of_a_retry_log(), f"1Awg=^106,7~0@{LOG}", f"^106,7~0@{LOG}", id="a retry log"),
        pytest.param(claimed(), f"1Awg=^106,7~1@{LOG}", f"^106,7~0@{LOG}", id="claimed"),
        pytest.param(running(), f"1Awg=^106,7~1,1!0,4*0@{LOG}", f"^106,7~0@{LOG}", id="suspects run"),
        pytest.param(after_deaths(), f"1Awg=^106,7~1,1.1,4.9@{LOG}", f"^106,7~0@{LOG}", id="after a death"),
    ],
)
def test_what_a_commit_says(offsets: OffsetTracker, metadata: str, short: str) -> None:
    commit = offsets.commit()
    assert (commit.watermark, commit.metadata, commit.short) == (100, metadata, short)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", CommitMetadata(), id="somebody else's"),
        pytest.param("1Awg=", CommitMetadata("1Awg="), id="a map alone"),
        pytest.param("1Awg=~1", CommitMetadata("1Awg=", unreleased=True), id="before there was a fence"),
        pytest.param("1Awg=^6,7~0", CommitMetadata("1Awg=", Fence(6, 7)), id="before there was an id"),
        pytest.param("^6,7", CommitMetadata("", Fence(6, 7)), id="a fence alone"),
        pytest.param(f"~0@{LOG}", CommitMetadata(log=LOG), id="an id"),
        pytest.param(
            "~1,5!0,2*1@", CommitMetadata("", None, True, [NamedJob(15, BESIDE, 0), NamedJob(17, ALONE, 1)]), id="named"
        ),
    ],
)
def test_what_earlier_versions_have_written_is_read(text: str, said: CommitMetadata) -> None:
    read = CommitMetadata.read(text, 10)
    assert read._replace(named=list(read.named)) == said._replace(named=list(said.named))


@pytest.mark.parametrize("text", ["nonsense", "~", "~2", "~1,x", "~1,1!", "~1,1!1,", "~1,1?1", "~1!1", f"~1{LOG}"])
def test_a_crash_record_that_cannot_be_read_says_nothing(text: str) -> None:
    read = CommitMetadata.read(text, 0)
    assert (read.unreleased, read.named) == (False, [])


@pytest.mark.parametrize("text", ["", "^", "^1", "^1,", "^-1,2", "^x,1", "1,2"])
def test_what_cannot_be_read_is_no_fence(text: str) -> None:
    assert CommitMetadata.read(text, 0).fence is None


@pytest.mark.parametrize("text", ["", "@x", f"@{LOG}x", LOG, f"@{LOG}~0"])
def test_what_cannot_be_read_is_no_id(text: str) -> None:
    assert CommitMetadata.read(text, 0).log == UNKNOWN


jobs = st.builds(
    lambda steps: [
        NamedJob(100 + sum(step for step, _, _ in steps[: at + 1]), *steps[at][1:]) for at in range(len(steps))
    ],
    st.lists(st.tuples(st.integers(1, 10**6), st.sampled_from([IDLE, BESIDE, ALONE]), st.integers(0, 9)), max_size=30),
)


@given(
    st.sampled_from(["", "1Awg=", "1A/6CnAE="]),
    st.none() | st.builds(Fence, st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1)),
    st.booleans(),
    jobs,
    st.sampled_from([UNKNOWN, LOG]),
)
def test_what_is_written_is_read(
    finished_map: str, fence: Fence | None, unreleased: bool, named: list[NamedJob], log: str
) -> None:
    said = CommitMetadata(finished_map, fence, unreleased, named, log)
    assert CommitMetadata.read(said.text(100), 100) == said


@given(st.sets(st.integers(0, 10**15), max_size=MAX_NAMED), st.integers(0, 100))
def test_of_the_named_jobs_as_many_are_written_as_fit(steps: set[int], watermark: int) -> None:
    named = [NamedJob(watermark + step, BESIDE, 1) for step in sorted(steps)]
    text = CommitMetadata(named=named).text(watermark)
    assert len(text) <= CRASH_RECORD_LIMIT + 1
    read = CommitMetadata.read(text, watermark).named
    assert read == named[: len(read)], "what does not fit is left out at the end"
    if max(steps, default=0) < 10**9:
        assert read == named


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1))
def test_a_fence_takes_no_more_than_its_share(offset: int, generation: int) -> None:
    fence = Fence(offset, generation)
    assert len(CommitMetadata(fence=fence).text(0)) - len(CommitMetadata().text(0)) <= FENCE_LIMIT
    offsets = OffsetTracker(0)
    offsets.fence = fence
    commit = offsets.commit()
    assert OffsetTracker(commit.watermark, commit.metadata).fence == fence


def test_all_parts_together_fit_into_a_commit() -> None:
    assert len(f"@{LOG}") == LOG_LIMIT
    assert MAP_LIMIT + FENCE_LIMIT + CRASH_RECORD_LIMIT + LOG_LIMIT == METADATA_LIMIT
