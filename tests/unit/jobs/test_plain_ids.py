from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.jobs.support.plain_ids import plain_id

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300)


def test_a_uuid_stays_as_it_is() -> None:
    assert plain_id("019a7c1e-5d9b-7cc3-9d6e-0242ac120002") == "019a7c1e-5d9b-7cc3-9d6e-0242ac120002"


@given(ids)
def test_every_id_fits_into_a_header(job_id: str) -> None:
    plain = plain_id(job_id)
    assert 1 <= len(plain) <= 128
    assert plain.isascii()
    assert plain.replace("-", "").replace("_", "").replace("~", "").replace("%", "").isalnum() or set(plain) <= set(
        "-_~%"
    )


@given(ids, ids)
def test_different_ids_stay_different(one: str, other: str) -> None:
    assert (plain_id(one) == plain_id(other)) == (one == other)
