"""The order in which letters go back: publication order in each key, and nearly that of the log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.headers import Origin
from streams.dead.redrive.order import Candidate, in_publication_order

ORIGINS = st.one_of(st.none(), st.builds(Origin, st.just("jobs.q"), st.integers(0, 1), st.integers(0, 30)))
LETTERS = st.lists(st.tuples(st.sampled_from([None, b"", b"a", b"b"]), ORIGINS), max_size=30)


def lane(candidates: list[Candidate], key: bytes) -> list[Candidate]:
    return [each for each in candidates if each.key == key]


@given(LETTERS)
def test_each_key_is_in_publication_order(drawn: list[tuple[bytes | None, Origin | None]]) -> None:
    found = [Candidate(offset, key, origin) for offset, (key, origin) in enumerate(drawn)]
    ordered = [found[offset] for offset in in_publication_order(found)]
    assert sorted(each.offset for each in ordered) == [each.offset for each in found], "each once"
    assert [each.key for each in ordered] == [each.key for each in found], "keys keep their places"
    for key in (b"", b"a", b"b"):
        origins = [each.origin for each in lane(ordered, key)]
        known = [origin for origin in origins if origin is not None]
        assert known == sorted(known)
        assert origins[: len(known)] == known, "those without an origin are last"


def test_letters_without_a_key_stay() -> None:
    found = [Candidate(offset, None, Origin("jobs.q", 0, 9 - offset)) for offset in range(5)]
    assert in_publication_order(found) == [0, 1, 2, 3, 4]


def test_one_inversion() -> None:
    origins = {0: (b"a", 5), 1: (b"b", 6), 2: (b"a", 1), 3: (b"b", 7)}
    found = [Candidate(offset, key, Origin("jobs.q", 0, at)) for offset, (key, at) in origins.items()]
    assert in_publication_order(found) == [2, 1, 0, 3]
