"""From the bytes of a fetch to records, whatever is in them."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from schemas.headers import REFUSED
from schemas.limits import Limits
from streams.kafka.fetch import batch_reader, decoding
from streams.kafka.fetch.decoding import Batches, Demand, Fetched, FetchedRecords, Reading, install, records_at_once
from streams.kafka.fetch.unpacking import GZIP, LZ4, SNAPPY, ZSTD, Unpacker
from tests.hostile_batches import batch as batch_of
from tests.hostile_batches import headers, record, sealed, varint
from tests.raw_batches import batch

TP = ("jobs.email", 0)
READ_COMMITTED = 1
BASE_OFFSET_BYTES, CRC_AT = 8, 17


@pytest.fixture(autouse=True, scope="module")
def time_stands_still() -> Iterator[None]:
    """How much is handed out at once goes by the time that it takes."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (decoding, batch_reader):
            patch.setattr(module, "monotonic", lambda: 0.0)
        yield


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


LIMITS = Limits()


def read(
    fetch: bytes, *, start: int = 0, limits: Limits = LIMITS, most: int = 1000
) -> tuple[list[Any], list[tuple[Any, int, Exception]], FetchedRecords]:
    """The records of a fetch, what could not be read, and what was read from."""
    unreadable: list[tuple[Any, int, Exception]] = []
    reading = Reading(limits, Unpacker(limits.batch_bytes), Demand(), lambda *what: unreadable.append(what), set())
    records = FetchedRecords(reading, TP, Batches(fetch), [], start, None, None, True, READ_COMMITTED)
    found: list[Any] = []
    while not records.exhausted:
        reading.demand.renew((TP,))
        found += records.take(most)
    return found, unreadable, records


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


def test_what_cannot_be_unpacked_though_its_checksum_is_right_is_refused() -> None:
    for codec in (GZIP, SNAPPY, LZ4, ZSTD):
        (record,), unreadable, records = read(sealed(b"\x00nonsense", 1, codec))
        assert not unreadable
        assert (record.offset, record.value, record.headers[0][0]) == (0, None, REFUSED)
        assert records.next_fetch_offset == 1


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_a_batch_that_unpacks_to_too_much_is_refused_and_not_held(codec: int) -> None:
    limits = Limits(batch_bytes=1024 * 1024)
    most = limits.batch_bytes - len(record(0, bytes(limits.batch_bytes - 100))) + limits.batch_bytes - 100
    fitting, bomb = (batch_of(record(0, bytes(size)), 1, codec) for size in (most, 64 * 1024 * 1024))
    (found,), _, _ = read(fitting, limits=limits)
    assert len(found.value) == most
    tracemalloc.start()
    (refused,), unreadable, _ = read(bomb, limits=limits)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not unreadable
    assert refused.value is None
    assert b"STREAMS_MAX_BATCH_BYTES=1048576" in refused.headers[0][1]
    assert peak < 4 * len(bomb) + limits.batch_bytes


@pytest.mark.parametrize("name", [b"\xff", b"a", b""])
def test_headers_are_counted_before_they_are_made(name: bytes) -> None:
    good, crowd = record(1, b"good"), record(0, b"bad", headers(name, 500_000), key=b"k")
    tracemalloc.start()
    found, unreadable, _ = read(batch_of(crowd + good, 2, ZSTD))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not unreadable
    assert [(one.offset, one.key, one.value) for one in found] == [(0, b"k", b"bad"), (1, None, b"good")]
    assert [name for name, _ in found[0].headers] == [REFUSED]
    assert b"500,000 headers are more than STREAMS_MAX_HEADERS=256" in found[0].headers[0][1]
    assert peak < 10 * len(crowd), "for each header a tuple would take 56 bytes"


def test_the_last_headers_that_are_taken_and_the_first_that_are_too_many() -> None:
    limits = Limits(headers=3)
    for most in (1, 1000):
        batches = batch_of(record(0, b"1", headers(b"n", 23)) + record(1, b"2", headers(b"n", 24)) + record(2, b"3"), 3)
        found, _, _ = read(batches, limits=limits, most=most)
        assert [(one.value, [name for name, _ in one.headers][:1]) for one in found] == [
            (b"1", ["n"]), (b"2", [REFUSED]), (b"3", []),
        ]  # fmt: skip


def test_a_record_whose_attributes_a_broker_does_not_look_at() -> None:
    found, unreadable, _ = read(batch_of(record(0, attributes=0xFF) + record(1), 2))
    assert not unreadable
    assert [(one.offset, one.value, list(one.headers)) for one in found] == [(0, b"v", []), (1, b"v", [])]


BROKEN = {
    "a gap": record(0) + record(5),
    "an offset twice": record(0) + record(0),
    "an offset before the batch": record(0) + record(-7),
    "a negative length": record(0) + b"\x07xx",
    "a length behind the end": record(0) + varint(1000) + b"x",
    "a number without an end": record(0) + b"\xff" * 20,
    "a value behind the end": record(0) + varint(6) + b"\0\0\2\1" + varint(2**40)[:2],
    "headers without an end": record(0) + record(1, headers=varint(2**60)),
    "fewer headers than there are": record(0) + record(1, headers=headers(b"n", 3)[:-2] + b"\0\0\0"),
    "less than it says": record(0),
}


@pytest.mark.parametrize("records", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("most", [1, 1000])
def test_a_broken_record_is_refused_and_those_before_it_are_kept(records: bytes, most: int) -> None:
    for codec in (0, LZ4):
        found, unreadable, reading = read(batch_of(records, 2, codec), most=most)
        assert not unreadable
        assert (found[0].offset, found[0].value) == (0, b"v")
        assert [one.offset for one in found] == [0, 1]
        assert found[1].headers[0][0] == REFUSED
        assert reading.next_fetch_offset == 2


def test_records_in_no_order_are_found_though_their_ends_are_right() -> None:
    found, unreadable, _ = read(batch_of(record(0) + record(0) + record(2), 3))
    assert not unreadable
    assert [one.offset for one in found] == [0, 1, 2]


def test_a_batch_whose_number_of_records_is_no_number_to_rely_on_is_not_skipped() -> None:
    for records, stated in ((record(0) + record(1), 5), (record(0)[:-3], 7)):
        _, unreadable, reading = read(batch_of(records, 2, stated=stated))
        assert len(unreadable) == 1
        assert reading.next_fetch_offset == 0


@pytest.mark.parametrize("most", [1, 5])
def test_a_record_that_claims_those_before_it_does_not_hide_them(most: int) -> None:
    """The batch says that it has a record of every offset."""
    found, unreadable, reading = read(batch_of(record(3, b"v" * 9), 4), most=most)
    assert not unreadable
    assert [one.offset for one in found] == [0, 1, 2, 3]
    assert all(one.headers[0][0] == REFUSED for one in found)
    assert reading.next_fetch_offset == 4


@given(st.data())
def test_whatever_the_bytes_are_each_offset_comes_out_once_or_the_partition_waits(data: st.DataObject) -> None:
    whole = bytearray(b"".join(record(n, b"v" * 9, headers(b"name", 2), key=b"key") for n in range(4)))
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        whole[at] = data.draw(st.integers(0, 255))
    codec = data.draw(st.sampled_from([0, ZSTD]))
    found, unreadable, reading = read(batch_of(bytes(whole), 4, codec), most=data.draw(st.integers(1, 5)))
    assert [one.offset for one in found] == [*range(reading.next_fetch_offset)]
    assert reading.next_fetch_offset == 4 or unreadable


def takes(fetch: bytes) -> list[list[int]]:
    """The offsets that each take of a fetch hands out, until it is exhausted."""
    reading = Reading(LIMITS, Unpacker(LIMITS.batch_bytes), Demand(), lambda *what: pytest.fail(str(what)), set())
    records = FetchedRecords(reading, TP, Batches(fetch), [], 0, None, None, True, READ_COMMITTED)
    taken = []
    while not records.exhausted:
        reading.demand.renew((TP,))
        taken.append([one.offset for one in records.take(1000)])
    return taken


def test_a_fetch_hands_out_what_it_has_once_it_has_unpacked_enough() -> None:
    fetch = b"".join(batch_of(record(0, bytes(5_000_000)), 1, ZSTD, base=number) for number in range(6))
    assert takes(fetch) == [[0, 1], [2, 3], [4, 5], []]


def limit_time(monkeypatch: pytest.MonkeyPatch, looks: int = 4) -> None:
    """Have so many looks at the clock take the time that a fetch goes on."""
    number = count()
    for module in (decoding, batch_reader):
        monkeypatch.setattr(module, "monotonic", lambda: next(number) * decoding._WHILE / looks)


@pytest.mark.parametrize("looks", [1, 4])
def test_a_fetch_hands_out_what_it_has_once_that_has_taken_long(looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_time(monkeypatch, looks)
    crowd = record(0, b"v", headers(b"n", 300)) + b"".join(record(number, b"v") for number in range(1, 20))
    ones = [batch_of(record(0), 1, base=number) for number in range(20)]
    for fetch in (b"".join(ones), batch_of(crowd, 20)):
        taken = takes(fetch)
        assert [offset for some in taken for offset in some] == [*range(20)]
        assert max(map(len, taken)) <= looks + 1
        assert all(taken[:-1]), "who gets nothing asks a second later"


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_what_there_was_no_time_for_comes_next(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the end of the batch was reached once, before it was found to be broken."""
    fetch = batch_of(body, 3) + batch_of(record(0) + record(1), 2, base=3)
    whole, unreadable, _ = read(fetch)
    limit_time(monkeypatch)
    pieces, unreadable_then, _ = read(fetch)
    assert [one.offset for one in pieces] == [one.offset for one in whole]
    assert [offset for _, offset, _ in unreadable_then] == [offset for _, offset, _ in unreadable]


def fetched(records: FetchedRecords) -> Fetched:
    """The fetch of a partition that is read where it stands."""
    state = SimpleNamespace(paused=False, position=records.next_fetch_offset, consumed_to=lambda offset: None)
    assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
    return Fetched(TP, assignment=assignment, partition_records=records, backoff=60.0)


def test_a_partition_with_a_backlog_leaves_room_for_others() -> None:
    """It hands out a part of what it has, and no other partition's fetch waits for the rest of it to be taken."""
    count = 1_200
    fetch = batch_of(b"".join(record(number, b"v") for number in range(count)), count)
    reading = Reading(LIMITS, Unpacker(LIMITS.batch_bytes), Demand(), lambda *what: pytest.fail(str(what)), set())
    one = fetched(FetchedRecords(reading, TP, Batches(fetch), [], 0, None, None, True, READ_COMMITTED))
    assert one.calculate_backoff() <= decoding._SOON, "its partition is full, or takes its last records in"
    one._created -= 60.0
    assert one.calculate_backoff() == 0.0
    one._created += 60.0
    reading.demand.renew({TP})
    assert 0.0 < one.calculate_backoff() <= 60.0, "it is taken in a moment, and then one fetch asks for all"
    assert len(one.getall()) == 500
    assert one.has_more()
    assert one.calculate_backoff() == 0.0


@pytest.mark.parametrize(
    ("concurrency", "buffer_jobs", "at_once"),
    [(1, 10_000, 500), (200, 10_000, 500), (1_000, 10_000, 2_000), (100_000, 100_000, 4_000), (1_000, 100, 500)],
)
def test_more_is_handed_out_at_once_where_more_runs_at_once(concurrency: int, buffer_jobs: int, at_once: int) -> None:
    assert records_at_once(concurrency, buffer_jobs) == at_once


def test_as_many_records_are_handed_out_at_once_as_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MemoryRecords", "PartitionRecords", "FetchResult"):
        monkeypatch.setattr(fetcher, name, None)
    demand = install(lambda *what: pytest.fail(str(what)), LIMITS, 700)
    fetch = batch_of(b"".join(record(number, b"v") for number in range(2_000)), 2_000)
    records = fetcher.PartitionRecords(TP, Batches(fetch), [], 0, None, None, True, READ_COMMITTED)
    demand.renew({TP})
    assert [len(records.take_some(most)) for most in (None, 7, None, None)] == [700, 7, 700, 593]


PLAIN = raw([(b"k", b"v", [])] * 3, [(b"k", b"v", [])])
#: Its first record is whole; then it ends.
ENDS_EARLY = batch_of(record(0, b"v"), 3)
TOO_LARGE = batch_of(record(0, bytes(2_000_000)), 3, ZSTD)


@pytest.mark.parametrize("taken", [0, 1, 2, 9])
@pytest.mark.parametrize("fetch", [PLAIN, ENDS_EARLY, TOO_LARGE], ids=["plain", "ends-early", "too-large"])
def test_a_fetch_is_freed_as_soon_as_nobody_refers_to_it(fetch: bytes, taken: int) -> None:
    """It holds up to a megabyte, and the garbage collector, which would find it in a cycle, comes by rarely."""
    limits = Limits(batch_bytes=1_000_000)
    reading = Reading(limits, Unpacker(limits.batch_bytes), Demand(), lambda *what: pytest.fail(str(what)), set())
    records = FetchedRecords(reading, TP, Batches(fetch), [], 0, None, None, True, READ_COMMITTED)
    reading.demand.renew((TP,))
    assert len(records.take(taken)) == min(taken, 3 + (fetch is PLAIN))
    left = [weakref.ref(each) for each in (records, records._batch) if each is not None]
    gc.disable()
    try:
        del records
        assert [each() for each in left] == [None] * len(left)
    finally:
        gc.enable()


def test_the_quick_decoder_is_in_use() -> None:
    assert DefaultRecordBatchBuilder.__module__.startswith("aiokafka.record._crecords"), "else all of it is slow"
