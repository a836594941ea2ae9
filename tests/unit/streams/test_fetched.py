"""From the bytes of a fetch to records, whatever is in them."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from streams.fetched import Batches, FetchedRecords
from tests.raw_batches import batch

TP = ("jobs.email", 0)
READ_COMMITTED = 1
BASE_OFFSET_BYTES, CRC_AT = 8, 17

names = st.binary(min_size=1, max_size=8)
contents = st.none() | st.binary(max_size=8)
rows = st.lists(st.tuples(st.none() | st.binary(max_size=8), st.binary(max_size=8),
                          st.lists(st.tuples(names, contents), max_size=3)), min_size=1, max_size=5)  # fmt: skip


def raw(*batches: list[Any], compression: int = 0) -> bytes:
    """A fetch: batches of records, one after the other."""
    whole, offset = b"", 0
    for each in batches:
        built = bytes(batch(each, compression=compression).build())
        whole += offset.to_bytes(BASE_OFFSET_BYTES, "big") + built[BASE_OFFSET_BYTES:]
        offset += len(each)
    return whole


def read(fetch: bytes, *, start: int = 0) -> tuple[list[Any], list[tuple[Any, int, Exception]], Any]:
    """The records of a fetch, what could not be read, and what was read from."""
    unreadable: list[tuple[Any, int, Exception]] = []
    records = FetchedRecords(
        lambda *what: unreadable.append(what), set(), TP, Batches(fetch), [], start, None, None, True, READ_COMMITTED
    )
    return list(records), unreadable, records


@given(st.lists(rows, min_size=1, max_size=4), st.integers(0, 4))
def test_every_record_comes_out_once_whatever_its_headers_are_called(
    batches: list[list[Any]], compression: int
) -> None:
    found, unreadable, records = read(raw(*batches, compression=compression))
    wanted = [row for each in batches for row in each]
    assert not unreadable
    assert [(one.offset, one.key, one.value) for one in found] == [(n, *row[:2]) for n, row in enumerate(wanted)]
    shown = [[(name.decode("utf-8", "backslashreplace"), content) for name, content in row[2]] for row in wanted]
    assert [one.headers for one in found] == shown
    assert records.next_fetch_offset == len(wanted)


@given(st.lists(rows, min_size=1, max_size=4), st.data())
def test_it_goes_on_from_where_the_last_fetch_ended(batches: list[list[Any]], data: st.DataObject) -> None:
    # A broker sends whole batches, of which the first holds the offset that was asked for.
    start = data.draw(st.integers(0, len(batches[0]) - 1))
    found, _, _ = read(raw(*batches), start=start)
    assert [one.offset for one in found] == list(range(start, sum(map(len, batches))))


def test_a_name_that_is_no_utf8_is_told(caplog: pytest.LogCaptureFixture) -> None:
    (record,), _, _ = read(raw([(b"k", b"v", [(b"caf\xe9", b"1")])]))
    assert record.headers == [("caf\\xe9", b"1")]
    assert "jobs.email-0 holds a record whose header has a name that is no UTF-8" in caplog.text


def test_what_is_before_a_broken_batch_is_kept_and_it_is_read_again_from_there() -> None:
    fetch = bytearray(raw([(b"a", b"1", [])], [(b"b", b"2", [])], [(b"c", b"3", [])]))
    second = len(raw([(b"a", b"1", [])]))
    fetch[second + CRC_AT] ^= 0xFF
    found, unreadable, records = read(bytes(fetch))
    assert [one.value for one in found] == [b"1"]
    ((tp, offset, error),) = unreadable
    assert (tp, offset) == (TP, 1)
    assert "CRC" in str(error)
    assert records.next_fetch_offset == 1, "so that it is not skipped"


def test_what_cannot_be_unpacked_is_an_end_and_no_error() -> None:
    fetch = bytes(batch([(b"k", b"v" * 200, [])], compression=4).build())
    good, _, _ = read(fetch)
    assert len(good) == 1
    unpackable = _with_crc(fetch[:70] + bytes(len(fetch) - 70))
    found, unreadable, _ = read(unpackable)
    assert not found
    assert len(unreadable) == 1


def _with_crc(fetch: bytes) -> bytes:
    """The same bytes, with the checksum that fits them."""
    checksum: int = calc_crc32c(fetch[CRC_AT + 4 :])
    return fetch[:CRC_AT] + checksum.to_bytes(4, "big") + fetch[CRC_AT + 4 :]


def test_the_quick_decoder_is_in_use() -> None:
    assert DefaultRecordBatchBuilder.__module__.startswith("aiokafka.record._crecords"), "else all of it is slow"
