"""The headers with which a job goes back."""

from __future__ import annotations

import pytest

from schemas.headers import Origin, build, parse, shared_headers, with_failure
from streams.dead.redrive.headers import headers_for_return
from tests.unit.dead.letters import NOW, letter

ORIGIN = Origin("jobs.q", 1, 42)
PUBLISHED = [*build(shared_headers("jobs.q.T", "s"), "one", NOW), ("job-expires-at", b"%d" % (NOW + 5))]


def failed(*extra: tuple[str, bytes]) -> list[tuple[str, bytes | None]]:
    return with_failure(
        [*PUBLISHED, *extra], origin=ORIGIN, error_type="E", error_message="m", error_stack="s", now_ms=NOW, attempt=4
    )


def test_a_job_goes_back_as_it_was_published_but_for_origin_and_count() -> None:
    more = (("traceparent", b"00-1-2-01"), ("job-timeout-ms", b"5"), ("job-parent", b"p"), ("x-twice", b"1"),
            ("x-twice", b"\xff"), ("job-not-before", b"7"), ("job-parked", b"1"))  # fmt: skip
    back = headers_for_return(letter(*failed(*more)), keep_expiry=True)
    assert sorted(back, key=repr) == sorted(
        [*PUBLISHED, *more[:5], ("job-origin", b"jobs.q/1/42"), ("job-redrives", b"1")], key=repr
    )
    metadata = parse(back, "jobs.q", 1, 99)  # type: ignore[arg-type]
    assert (metadata.id, metadata.attempt, metadata.origin, metadata.not_before) == ("one", 0, ORIGIN, None)


def test_the_expiry_can_be_left_out() -> None:
    assert "job-expires-at" in dict(headers_for_return(letter(*failed()), keep_expiry=True))
    assert "job-expires-at" not in dict(headers_for_return(letter(*failed()), keep_expiry=False))


@pytest.mark.parametrize(
    ("before", "after"), [(b"1", b"2"), (b"9", b"10"), (b"\xff", b"1"), (b"-3", b"1"), (b"", b"1")]
)
def test_redrives_are_counted(before: bytes, after: bytes) -> None:
    back = headers_for_return(letter(("job-redrives", before)), keep_expiry=True)
    assert [value for name, value in back if name == "job-redrives"] == [after]


def test_a_job_without_an_id_keeps_the_one_it_had() -> None:
    """The id of such a job is where it lies: on its queue first, elsewhere after the redrive."""
    first = parse([], *ORIGIN)
    back = headers_for_return(letter(("job-origin", b"jobs.q/1/42")), keep_expiry=True)
    assert parse(back, "jobs.q", 1, 99).id == first.id == "jobs.q-1-42"  # type: ignore[arg-type]


def test_an_id_that_cannot_be_read_stays() -> None:
    back = headers_for_return(letter(("ce_id", b"\xff")), keep_expiry=True)
    assert [value for name, value in back if name == "ce_id"] == [b"\xff"]


def test_an_origin_that_cannot_be_read_goes() -> None:
    back = headers_for_return(letter(("job-origin", b"///"), ("ce_id", b"one")), keep_expiry=True)
    assert parse(back, "jobs.q", 1, 99).origin is None  # type: ignore[arg-type]
