"""Metadata in headers: read strictly where it steers the job, kept whole where a job fails."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import HeaderInvalid, Metadata, Origin
from schemas import headers as h
from schemas.errors import RecordRefused

NUMBERS = (h.ATTEMPT, h.MAX_ATTEMPTS, h.TIMEOUT_MS, h.NOT_BEFORE, h.EXPIRES_AT, h.DEDUP_TTL_MS)
PLACE = Origin("jobs.email", 3, 42)
ID = "0190163d-8694-739b-aea5-966c26f8ad91"
BUILT = h.build(h.shared_headers("jobs.email.SendEmail", "shop"), ID, 1_769_847_330_123)


def parse(headers: h.Headers | None) -> Metadata:
    return h.parse(headers, *PLACE)


@pytest.mark.parametrize("headers", [None, [], [("other", b"x")], [("other", None)]])
def test_a_record_without_headers_is_a_job_with_defaults(headers: h.Headers | None) -> None:
    metadata = parse(headers)
    assert metadata == Metadata(id="jobs.email-3-42", place=PLACE, headers=dict(headers or []))
    assert (metadata.attempt, metadata.parked, metadata.first) == (0, False, PLACE)


def test_a_new_job_is_a_cloud_event_in_binary_mode() -> None:
    assert dict(BUILT) == {
        "ce_specversion": b"1.0",
        "ce_id": ID.encode(),
        "ce_type": b"jobs.email.SendEmail",
        "ce_source": b"shop",
        "ce_time": b"2026-01-31T08:15:30.123Z",
        "content-type": b"application/avro",
    }
    metadata = parse(BUILT)
    assert (metadata.id, metadata.type, metadata.source) == (ID, "jobs.email.SendEmail", "shop")
    assert metadata.time == "2026-01-31T08:15:30.123Z"


def test_what_steers_a_job_is_read_and_all_else_kept() -> None:
    metadata = parse([
        *BUILT, (h.EXPIRES_AT, b"5"), (h.NOT_BEFORE, b"4"), (h.TIMEOUT_MS, b"3"), (h.MAX_ATTEMPTS, b"2"),
        (h.PARENT, b"p"), (h.DEDUP_KEY, b"k"), (h.DEDUP_TTL_MS, b"1"), ("traceparent", b"00-0af7-b7ad-01"),
        ("mine", b"\xff"),
    ])  # fmt: skip
    assert metadata.expires_at == 5
    assert metadata.not_before == 4
    assert metadata.timeout_ms == 3
    assert metadata.max_attempts == 2
    assert metadata.parent == "p"
    assert metadata.dedup_key == "k"
    assert metadata.headers["traceparent"] == b"00-0af7-b7ad-01"
    assert metadata.headers["mine"] == b"\xff"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in NUMBERS
          for value in (None, b"", b"-1", b"+1", b" 1", b"1_0", b"1.5", b"x", b"\xff", "٣".encode(), b"1" * 19)),
        *((name, value) for name in (h.CE_ID, h.PARENT, h.DEDUP_KEY) for value in (None, b"", b"\xff", b"x" * 1025)),
        *((h.ORIGIN, value) for value in (None, b"", b"t/0", b"t/0/1/2", b"/0/1", b"t/-1/1", b"t/1/x", b"\xff/1/1")),
        *((h.TIMEOUT_MS, value) for value in (b"0", b"000")),
        *((h.PARKED, value) for value in (None, b"", b"2", b"true")),
    ],
)  # fmt: skip
def test_a_steering_header_that_cannot_be_read_is_named(name: str, value: bytes | None) -> None:
    with pytest.raises(HeaderInvalid, match=f"header '{name}': expected ") as raised:
        parse([*BUILT[2:], (name, value)])
    assert (raised.value.name, raised.value.value) == (name, value)


@given(
    st.lists(st.tuples(st.sampled_from([n for n in vars(h).values() if isinstance(n, str)]), st.none() | st.binary()))
)
def test_any_headers_give_metadata_or_header_invalid(headers: list[tuple[str, bytes | None]]) -> None:
    try:
        metadata = parse(headers)
    except (HeaderInvalid, RecordRefused):
        return
    assert metadata.id
    str((metadata.source, metadata.time, metadata.type))


def test_what_was_refused_once_stays_so_through_retries_and_its_dead_letter_says_it_by_its_error() -> None:
    refused: list[tuple[str, bytes | None]] = [(h.REFUSED, b"300 headers are too many")]
    origin, state = h.Origin("t", 0, 0), h.RetryState(0, 0, 0)
    for failure in (None, ("E", "m")):
        kept = h.with_retry(refused, origin=origin, state=state, failure=failure, now_ms=1)
        with pytest.raises(RecordRefused, match="300 headers are too many"):
            parse(kept)
    letter = h.with_failure(refused, origin=origin, error_type="E", error_message="m", error_stack="", now_ms=1)
    assert h.REFUSED not in dict(letter)


def test_of_several_headers_with_one_name_the_last_counts() -> None:
    assert parse([(h.ATTEMPT, b"x"), (h.ATTEMPT, b"7")]).attempt == 7


def test_reserved_names() -> None:
    assert all(h.is_reserved(name) for name in ("ce_id", "CE_ID", "job-anything", "content-type"))
    assert not any(h.is_reserved(name) for name in ("traceparent", "mine", "job", "ce"))


def failed(headers: h.Headers | None, now_ms: int = 2000, attempt: int | None = None, stack: str = "at x") -> h.Headers:
    return h.with_failure(
        headers,
        origin=PLACE,
        error_type="ValueError",
        error_message="no",
        error_stack=stack,
        now_ms=now_ms,
        attempt=attempt,
    )


def test_a_failure_is_added_and_all_else_stays() -> None:
    original = [*BUILT, ("mine", b"1"), ("mine", b"2"), ("broken", None), (h.ATTEMPT, b"x")]
    headers = failed(original)
    assert headers[: len(original)] == original
    assert dict(headers[len(original) :]) == {
        "job-origin": b"jobs.email/3/42",
        "job-first-failed-at": b"2000",
        "job-last-failed-at": b"2000",
        "job-error-type": b"ValueError",
        "job-error-message": b"no",
        "job-error-stack": b"at x",
    }


def test_the_second_failure_keeps_origin_and_first_time() -> None:
    first = h.with_failure(
        BUILT, origin=Origin("jobs.email", 0, 7), error_type="A", error_message="a", error_stack="", now_ms=1, attempt=1
    )
    second = failed(first, attempt=2)
    metadata = parse(second)
    assert (metadata.first, metadata.attempt) == (Origin("jobs.email", 0, 7), 2)
    assert metadata.text(h.FIRST_FAILED_AT) == "1"
    assert metadata.text(h.LAST_FAILED_AT) == "2000"
    assert len(second) == len(first)


def test_a_broken_origin_is_kept_and_overruled() -> None:
    headers = failed([(h.ORIGIN, b"nonsense"), (h.FIRST_FAILED_AT, None)])
    assert (h.ORIGIN, b"nonsense") in headers
    assert parse(headers).first == PLACE
    assert parse(headers).text(h.FIRST_FAILED_AT) == "2000"


@given(st.text(alphabet="aé語😀\ud800", max_size=40), st.integers(8, 40), st.booleans())
def test_capping_cuts_between_characters(text: str, limit: int, keep_end: bool) -> None:
    whole = text.encode("utf-8", "replace")
    cut = h.capped(text, limit, keep_end=keep_end)
    assert len(cut) <= max(limit, len(whole) if len(whole) <= limit else 0)
    if len(whole) > limit:
        kept = cut.decode().replace("…", "")
        assert whole.decode().endswith(kept) if keep_end else whole.decode().startswith(kept)
        assert len(cut) > limit - 4


def test_a_stack_keeps_its_end() -> None:
    stack = dict(failed(None, stack="x" * 20_000 + "the cause"))[h.ERROR_STACK]
    assert stack is not None
    assert len(stack) == h.STACK_LIMIT
    assert stack.endswith(b"the cause")
