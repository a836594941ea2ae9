"""The file of a partition's delayed jobs: changes are whole or none, and what is asked is answered in its order."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.headers import DelayedJob
from streams.timers.store import MalformedRecord, StoreFull, TimerStore, WaitingJob
from tests.disk import Disk, can_mount

NOW = 1_000_000
FOREVER = 10**18 - 1
HEADERS: list[tuple[str, bytes | None]] = [("ce_id", b"job"), ("null", None), ("ce_id", b"twice")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TimerStore]:
    store = TimerStore(tmp_path / "store")
    yield store
    store.close()


def job(job_id: bytes, due_ms: int, key: bytes | None = None, origin: bytes | None = None) -> DelayedJob:
    return DelayedJob(job_id, "email", key, due_ms, origin)


def add(store: TimerStore, *jobs: tuple[int, bytes, int], value: bytes = b"value") -> None:
    """Have jobs wait, each a place, an id and when it is due."""
    with store.changing(NOW):
        for place, job_id, due_ms in jobs:
            store.add(place, job(job_id, due_ms), value, HEADERS)


def due(store: TimerStore, now_ms: int = FOREVER, most: int = 1_000) -> list[bytes]:
    return [each.job.id for each in store.due(now_ms, most)]


def found(store: TimerStore, job_id: bytes) -> WaitingJob:
    waiting = store.find(job_id)
    assert waiting is not None
    return waiting


# -- what is kept -----------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 2**62),
    st.binary(min_size=1, max_size=30),
    st.text("abc-_", min_size=1),
    st.none() | st.binary(min_size=1, max_size=30),
    st.integers(0, FOREVER),
    st.none() | st.binary(max_size=30),
    st.binary(max_size=100),
)
def test_a_job_is_kept_as_it_came(
    place: int, job_id: bytes, queue: str, key: bytes | None, due_ms: int, origin: bytes | None, value: bytes
) -> None:
    store = TimerStore(Path(":memory:"))
    waiting = DelayedJob(job_id, queue, key, due_ms, origin)
    with store.changing(NOW):
        store.add(place, waiting, value, HEADERS)
    expected = WaitingJob(place, waiting, value, HEADERS, due_ms, commanded=False)
    assert store.find(job_id) == expected
    assert store.due(due_ms, 1) == [expected]
    assert store.due(due_ms - 1, 1) == []
    store.close()


def test_nothing_waits_at_first(store: TimerStore) -> None:
    assert (len(store), store.position, store.saved_ms) == (0, 0, 0)
    assert store.next_due() is None
    assert store.due(FOREVER, 10) == []
    assert store.find(b"a") is None
    assert not store.has_upkeep()


def test_jobs_fall_due_in_the_order_of_their_times_and_then_of_the_log(store: TimerStore) -> None:
    add(store, (7, b"late", 300), (3, b"y", 200), (5, b"x", 200), (9, b"first", 100))
    assert due(store) == [b"first", b"y", b"x", b"late"]
    assert due(store, 200) == [b"first", b"y", b"x"]
    assert due(store, 199) == [b"first"]
    assert due(store, 99) == []
    assert due(store, most=2) == [b"first", b"y"]
    assert store.next_due() == 100
    assert len(store) == 4


def test_a_job_of_the_same_id_takes_the_place_of_the_first(store: TimerStore) -> None:
    add(store, (1, b"a", 100), (2, b"b", 150))
    with store.changing(NOW):
        store.add(3, job(b"a", 200, b"k", b"origin"), b"new", [])
    assert store.find(b"a") == WaitingJob(3, job(b"a", 200, b"k", b"origin"), b"new", [], 200, commanded=False)
    assert due(store) == [b"b", b"a"]
    with store.changing(NOW):
        store.remove_places([1])
    assert len(store) == 2, "nothing of the first is left"


def test_a_job_that_is_removed_waits_no_longer(store: TimerStore) -> None:
    add(store, (1, b"a", 100), (2, b"b", 200), (3, b"c", 300))
    with store.changing(NOW):
        assert not store.remove(b"a"), "no command lies beside it"
        assert not store.remove(b"unknown")
        store.remove_places([3, 99])
    assert due(store) == [b"b"]
    assert store.next_due() == 200


# -- commands, and jobs that are held ---------------------------------------------------------------------------------


def test_a_command_changes_when_a_job_is_due_and_not_what_its_record_says(store: TimerStore) -> None:
    add(store, (1, b"a", 100), (2, b"b", 200))
    with store.changing(NOW):
        assert store.change_due(b"a", 400)
        assert store.change_due(b"a", 300)
        assert not store.change_due(b"unknown", 1)
    changed = found(store, b"a")
    assert (changed.due_ms, changed.job.due_ms, changed.commanded) == (300, 100, True)
    assert not found(store, b"b").commanded
    assert due(store) == [b"b", b"a"]
    assert due(store, 299) == [b"b"]
    assert store.next_due() == 200


def test_who_removes_a_job_learns_of_its_command(store: TimerStore) -> None:
    add(store, (1, b"a", 100), (2, b"b", 100))
    with store.changing(NOW):
        store.change_due(b"a", 300)
        assert store.remove(b"a")
        assert not store.remove(b"b")
        assert not store.remove(b"a"), "it is gone"


def test_a_job_published_again_falls_due_when_it_says_and_its_command_lies_there_still(store: TimerStore) -> None:
    """The command's record is older, and says nothing any more; its tombstone is to be written all the same."""
    add(store, (1, b"a", 100))
    with store.changing(NOW):
        store.change_due(b"a", 300)
        store.add(5, job(b"a", 200), b"again", [])
    again = found(store, b"a")
    assert (again.place, again.due_ms, again.commanded) == (5, 200, True)
    add(store, (6, b"b", 1))
    assert not found(store, b"b").commanded
    with store.changing(NOW):
        assert store.remove(b"a")


def test_a_job_that_is_held_lets_others_go_first(store: TimerStore) -> None:
    add(store, (1, b"a", 100), (2, b"b", 200), (3, b"c", 300))
    with store.changing(NOW):
        store.hold([1, 99], 250)
    assert due(store) == [b"b", b"a", b"c"]
    assert due(store, 249) == [b"b"]
    assert store.next_due() == 200
    assert found(store, b"a").due_ms == 100, "that is when it fell due"
    with store.changing(NOW):
        store.remove(b"b")
    assert store.next_due() == 250


def test_nothing_is_early_for_being_held(store: TimerStore) -> None:
    add(store, (1, b"a", 500))
    with store.changing(NOW):
        store.hold([1], 250)
    assert due(store, 499) == []
    assert store.next_due() == 500


@pytest.mark.parametrize("again", ["by a command", "by its publisher"])
def test_a_job_that_is_given_another_time_is_held_no_longer(store: TimerStore, again: str) -> None:
    add(store, (1, b"a", 100))
    with store.changing(NOW):
        store.hold([1], 10_000)
        if again == "by a command":
            store.change_due(b"a", 200)
        else:
            store.add(2, job(b"a", 200), b"", [])
    assert due(store, 200) == [b"a"]


_IDS = st.sampled_from([b"a", b"b", b"c", b"d"])
_TIMES = st.integers(0, 20)
_CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("add"), _IDS, _TIMES),
        st.tuples(st.just("change_due"), _IDS, _TIMES),
        st.tuples(st.just("hold"), _IDS, _TIMES),
        st.tuples(st.just("remove"), _IDS, _TIMES),
        st.tuples(st.just("remove_place"), _IDS, _TIMES),
    ),
    max_size=30,
)


@given(_CHANGES, _TIMES, st.integers(0, 5))
def test_after_any_changes_it_is_as_a_table_in_memory_would_be(
    changes: list[tuple[str, bytes, int]], now_ms: int, most: int
) -> None:
    """By id: place, when it is due, until when it is held, and whether a command lies beside it."""
    model: dict[bytes, tuple[int, int, int, bool]] = {}
    store = TimerStore(Path(":memory:"))
    with store.changing(NOW):
        for place, (change, job_id, at) in enumerate(changes):
            old = model.get(job_id)
            if change == "add":
                store.add(place, job(job_id, at), b"", [])
                model[job_id] = place, at, 0, bool(old and old[3])
            elif change == "change_due":
                assert store.change_due(job_id, at) is (old is not None)
                if old:
                    model[job_id] = old[0], at, 0, True
            elif change == "hold" and old:
                store.hold([old[0]], at)
                model[job_id] = old[0], old[1], at, old[3]
            elif change == "remove":
                assert store.remove(job_id) is bool(old and old[3])
                model.pop(job_id, None)
            elif change == "remove_place" and old:
                store.remove_places([old[0]])
                del model[job_id]
    order = sorted((max(due_ms, held), place, job_id) for job_id, (place, due_ms, held, _) in model.items())
    assert due(store, now_ms, most) == [job_id for at, _, job_id in order if at <= now_ms][:most]
    assert store.next_due() == (order[0][0] if order else None)
    assert len(store) == len(model)
    for job_id, (place, due_ms, _, commanded) in model.items():
        waiting = found(store, job_id)
        assert (waiting.place, waiting.due_ms, waiting.commanded) == (place, due_ms, commanded)
    store.close()


# -- what is noted beside jobs ----------------------------------------------------------------------------------------


def test_which_moved_jobs_were_fired_is_known_until_it_is_forgotten(store: TimerStore) -> None:
    with store.changing(NOW):
        store.note_moved(b"jobs.email/0/1", 100)
        store.note_moved(b"jobs.email/0/2", 100)
        store.note_moved(b"jobs.email/0/2", 200)
    assert store.was_moved(b"jobs.email/0/1")
    assert not store.was_moved(b"jobs.email/0/3")
    with store.changing(NOW):
        store.forget_moved(100)
    assert store.was_moved(b"jobs.email/0/1"), "it was noted then, and not before"
    with store.changing(NOW):
        store.forget_moved(101)
    assert not store.was_moved(b"jobs.email/0/1")
    assert store.was_moved(b"jobs.email/0/2"), "the last time counts"
    assert not store.has_upkeep()


def test_keys_that_are_to_have_tombstones(store: TimerStore) -> None:
    with store.changing(NOW):
        for key in (b"command/a", b"b", b"z", b"command/a"):
            store.note_unneeded(key)
    assert store.has_upkeep()
    assert sorted(store.unneeded(10)) == [b"b", b"command/a", b"z"]
    assert len(store.unneeded(1)) == 1
    with store.changing(NOW):
        store.forget_unneeded([b"command/a", b"unknown"])
    assert sorted(store.unneeded(10)) == [b"b", b"z"]
    with store.changing(NOW):
        store.forget_unneeded([b"b", b"z"])
    assert not store.has_upkeep()


def test_records_that_are_none_are_kept_as_they_came(store: TimerStore) -> None:
    records = [
        MalformedRecord(9, None, None, [], "no key"),
        MalformedRecord(4, b"\xff", b"", HEADERS, "é"),
        MalformedRecord(6, b"key", b"value", [("", None)], "why"),
    ]
    with store.changing(NOW):
        for record in records:
            store.note_malformed(record)
        store.note_malformed(records[1])
    assert store.has_upkeep()
    assert store.malformed(10) == [records[1], records[2], records[0]]
    assert store.malformed(1) == [records[1]]
    with store.changing(NOW):
        store.forget_malformed([4, 6, 99])
    assert store.malformed(10) == [records[0]]
    with store.changing(NOW):
        store.forget_malformed([9])
    assert not store.has_upkeep()


# -- all or nothing ---------------------------------------------------------------------------------------------------


def test_the_position_goes_with_the_changes(store: TimerStore) -> None:
    with store.changing(NOW, 10):
        store.add(9, job(b"a", 1), b"", [])
    assert (store.position, store.saved_ms) == (10, NOW)
    with store.changing(NOW + 5):
        store.remove(b"a")
    assert (store.position, store.saved_ms) == (10, NOW + 5), "it stays where none is given"
    with store.changing(NOW + 6, 0):
        pass
    assert (store.position, store.saved_ms) == (0, NOW + 6)


class Fault(BaseException):
    """Whatever may be raised amid changes."""


def test_of_changes_that_are_broken_off_nothing_stays(store: TimerStore) -> None:
    everything(store)
    before = state(store)
    with pytest.raises(Fault), store.changing(NOW + 1, 99):
        store.add(50, job(b"new", 1), b"", [])
        store.add(51, job(b"a", 7), b"", [])
        store.change_due(b"b", 5)
        store.remove(b"c")
        store.hold([2], 9)
        store.note_moved(b"new", 1)
        store.forget_moved(10**15)
        store.note_unneeded(b"new")
        store.forget_unneeded([b"unneeded"])
        store.note_malformed(MalformedRecord(50, None, None, [], ""))
        store.forget_malformed([3])
        raise Fault
    assert state(store) == before
    with store.changing(NOW, 11):
        store.remove(b"a")
    assert store.position == 11, "and it goes on"


def everything(store: TimerStore) -> None:
    """One of each thing that a file may hold."""
    with store.changing(NOW, 10):
        for place, job_id in enumerate([b"a", b"b", b"c"]):
            store.add(place, job(job_id, 100 + place, b"k", b"origin"), b"value", HEADERS)
        store.change_due(b"b", 50)
        store.hold([0], 200)
        store.note_moved(b"moved", 100)
        store.note_unneeded(b"unneeded")
        store.note_malformed(MalformedRecord(3, b"key", b"value", HEADERS, "why"))


def state(store: TimerStore) -> Any:
    """All that can be asked of a file."""
    moved = [store.was_moved(origin) for origin in (b"moved", b"new")]
    waiting = store.due(FOREVER, 1_000)
    return store.position, store.saved_ms, waiting, store.next_due(), moved, store.unneeded(99), store.malformed(99)


# -- a file that is opened again --------------------------------------------------------------------------------------


def test_what_was_changed_is_there_when_a_file_is_opened_again(tmp_path: Path) -> None:
    store = TimerStore(tmp_path / "store")
    everything(store)
    before = state(store)
    store.close()
    again = TimerStore(tmp_path / "store")
    assert state(again) == before
    again.close()


def test_what_was_changed_is_there_when_its_process_was_killed(tmp_path: Path) -> None:
    """And what was not all changed by then is not."""
    file = tmp_path / "store"
    run_and_die(file, """
        with store.changing(1, 10):
            store.add(0, DelayedJob(b"whole", "email", None, 100, None), b"value", [])
        with store.changing(2, 20):
            store.add(1, DelayedJob(b"half", "email", None, 100, None), b"x" * 20_000_000, [])
            os.kill(os.getpid(), signal.SIGKILL)
    """)  # fmt: skip
    store = TimerStore(file)
    assert due(store) == [b"whole"]
    assert (store.position, store.saved_ms) == (10, 1)
    store.close()


def run_and_die(file: Path, source: str) -> None:
    head = f"""
        import os, signal
        from pathlib import Path
        from schemas.headers import DelayedJob
        from streams.timers.store import TimerStore
        store = TimerStore(Path({str(file)!r}))
    """
    program = textwrap.dedent(head) + textwrap.dedent(source)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (-9, "")


def test_a_file_of_another_version_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "store"
    store = TimerStore(file)
    everything(store)
    store.close()
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version=999")
    connection.execute("CREATE TABLE of_that_version (x)")
    connection.execute("ALTER TABLE waiting ADD COLUMN y")
    connection.commit()
    connection.close()
    again = TimerStore(file)
    assert (len(again), again.position, again.has_upkeep()) == (0, 0, False)
    everything(again)
    assert len(again) == 3
    again.close()


def test_what_is_no_file_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"no database at all\n" * 500)
    with pytest.raises(sqlite3.DatabaseError):
        TimerStore(tmp_path / "text")
    assert (tmp_path / "text").read_bytes().startswith(b"no database"), "it is left as it was"
    with pytest.raises(sqlite3.OperationalError):
        TimerStore(tmp_path / "nowhere" / "store")


# -- no room ----------------------------------------------------------------------------------------------------------


def test_what_finds_no_room_changes_nothing(store: TimerStore) -> None:
    everything(store)
    before = state(store)
    pages: int = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count={pages + 5}")
    for _ in range(3):
        with pytest.raises(StoreFull, match="full"), store.changing(NOW + 1, 99):
            store.remove(b"a")
            store.add(50, job(b"large", 1), bytes(1_000_000), [])
        assert state(store) == before
    with store.changing(NOW + 1, 99):
        store.remove(b"a")
    assert store.position == 99, "what has room is changed"
    store._connection.execute("PRAGMA max_page_count=1000000")
    with store.changing(NOW + 2, 100):
        store.add(50, job(b"large", 1), bytes(1_000_000), [])
    assert len(found(store, b"large").value) == 1_000_000


def test_another_fault_of_the_file_is_not_taken_for_a_full_disk(store: TimerStore) -> None:
    store._connection.execute("PRAGMA query_only=1")
    with pytest.raises(sqlite3.OperationalError, match="readonly"), store.changing(NOW):
        store.note_unneeded(b"a")


@pytest.mark.parametrize("size", [200_000, 20_000_000], ids=["in memory", "larger than what is kept in memory"])
def test_on_a_full_disk_nothing_changes_and_it_goes_on_when_there_is_room(size: int) -> None:
    if not can_mount():
        pytest.skip("nothing can be mounted here")
    with tempfile.TemporaryDirectory() as directory:
        disk = Disk(Path(directory), 64)
        try:
            store = TimerStore(Path(directory) / "store")
            everything(store)
            before = state(store)
            disk.fill()
            for _ in range(2):
                with pytest.raises(StoreFull), store.changing(NOW + 1, 99):
                    add_large(store, size)
                assert state(store) == before, "what waits can be read all the same"
            disk.empty()
            with store.changing(NOW + 1, 99):
                add_large(store, size)
            assert (store.position, len(store)) == (99, 13)
            store.close()
        finally:
            disk.unmount()


def add_large(store: TimerStore, size: int) -> None:
    for place in range(50, 60):
        store.add(place, job(b"large-%d" % place, 1), bytes(size // 10), [])
