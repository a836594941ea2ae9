"""A packed record is the record, in less memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.worker.packed_record import PackedRecord
from tests.unit.streams.rig import Fetched

CONTENT = st.none() | st.binary(max_size=300)
HEADERS = st.lists(st.tuples(st.text(max_size=30), CONTENT), max_size=12)


@given(st.integers(0, 2**62), CONTENT, CONTENT, HEADERS, st.integers(-1, 2**48))
def test_it_is_the_record(
    offset: int, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], timestamp: int
) -> None:
    record = Fetched(offset, key, value, headers, timestamp)
    for found in (PackedRecord(record, key), PackedRecord(PackedRecord(record, key), key)):
        assert (found.offset, found.key, found.value, found.timestamp) == (offset, key, value, timestamp)
        assert list(found.headers) == headers


def test_it_has_the_key_of_its_lane() -> None:
    """A hundred thousand jobs behind one key share one object of it."""
    key, same = b"key-%d" % 1, b"key-%d" % 1
    assert PackedRecord(Fetched(0, same, b""), key).key is key
