"""The headers of retry records: what was written is read, and whatever is written can be read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.headers import (
    ATTEMPT,
    ERROR_MESSAGE,
    ERROR_STACK,
    ERROR_TYPE,
    FIRST_FAILED_AT,
    LAST_FAILED_AT,
    MESSAGE_LIMIT,
    NOT_BEFORE,
    ORIGIN,
    PARKED,
    POSITION,
    Origin,
    RetryState,
    parse,
    retry_state,
    with_retry,
)

ORIGIN_HERE = Origin("jobs.email", 3, 77)
NAMES = [ATTEMPT, NOT_BEFORE, PARKED, POSITION, ORIGIN, FIRST_FAILED_AT, ERROR_TYPE, "ce_id", "mine"]
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.binary(max_size=20)), max_size=12)
STATES = st.builds(
    RetryState,
    queue_offset=st.integers(-(10**16), 10**17),
    attempt=st.integers(0, 10**9 - 1),
    due_ms=st.integers(0, 10**18 - 1),
    generation=st.none() | st.integers(0, 10**9 - 1),
)


@given(HEADERS, STATES, st.none() | st.tuples(st.text(), st.text()))
def test_what_was_written_is_read(original: list[tuple[str, bytes | None]], state: RetryState,
                                  failure: tuple[str, str] | None) -> None:  # fmt: skip
    written = with_retry(original, origin=ORIGIN_HERE, state=state, failure=failure, now_ms=5)
    assert retry_state(written, 0) == state
    again = with_retry(written, origin=Origin("other", 0, 0), state=state, failure=None, now_ms=9)
    assert dict(again) == dict(written)
    assert [name for name, _ in written].count(ATTEMPT) == 1


@given(HEADERS, st.integers(0, 10**17))
def test_any_record_of_a_retry_topic_has_a_state(headers: list[tuple[str, bytes | None]], offset: int) -> None:
    state = retry_state(headers, offset)
    assert state.attempt >= 0
    assert state.due_ms >= 0


def test_records_without_a_position_come_first_and_in_their_order() -> None:
    first, second = retry_state([], 1), retry_state([], 2)
    known = retry_state([(POSITION, b"-%d" % (10**16))], 0)
    assert first.queue_offset < second.queue_offset < known.queue_offset
    assert first.attempt == 1
    assert first.due_ms == 1


def test_a_failure_is_told_without_its_stack_and_the_first_time_stays() -> None:
    original = [("ce_id", b"j"), (ERROR_STACK, b"long"), ("mine", b"x")]
    once = with_retry(original, origin=ORIGIN_HERE, state=RetryState(77, 1, 50), failure=("E", "m" * 9999), now_ms=10)
    twice = dict(with_retry(once, origin=Origin("r", 0, 0), state=RetryState(77, 2, 90), failure=("F", "n"), now_ms=60))
    assert twice == {
        "ce_id": b"j",
        "mine": b"x",
        ORIGIN: b"jobs.email/3/77",
        FIRST_FAILED_AT: b"10",
        POSITION: b"77",
        ATTEMPT: b"2",
        NOT_BEFORE: b"90",
        ERROR_TYPE: b"F",
        ERROR_MESSAGE: b"n",
        LAST_FAILED_AT: b"60",
    }
    assert len(dict(once)[ERROR_MESSAGE] or b"") <= MESSAGE_LIMIT


def test_a_diverted_job_is_parked_and_keeps_its_attempts() -> None:
    written = with_retry([], origin=ORIGIN_HERE, state=RetryState(78, 0, 0), failure=None, now_ms=10)
    metadata = parse(written, "jobs.email.retry", 3, 5)
    assert metadata.parked
    assert metadata.not_before is None
    assert metadata.origin == ORIGIN_HERE
    assert retry_state(written, 5) == RetryState(78, 0, 0)
