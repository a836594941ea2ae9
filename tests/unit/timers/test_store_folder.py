"""Where the files of delayed jobs are: one is relied on while it may be, and else the log is read from its start."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.headers import DelayedJob
from streams.timers.store import TimerStore
from streams.timers.store_folder import _FRESH_MS, StoreFolder

NOW = 1_767_225_600_123


def clock() -> int:
    return NOW


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    return StoreFolder(tmp_path / "data" / "timers", clock)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories are made."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def fill(store: TimerStore, now_ms: int = NOW, position: int = 10) -> TimerStore:
    """Have a job wait, as of a time."""
    with store.changing(now_ms, position):
        store.add(3, DelayedJob(b"job-1", "email", None, 5_000, None), b"value", [])
        store.note_unneeded(b"unneeded")
    return store


def reopened(folder: StoreFolder, log: str = "log", partition: int = 0) -> tuple[int, int, bool]:
    """What a file says when it is opened again: its position, how many jobs wait, and whether there is more."""
    store = folder.open(log, partition)
    try:
        return store.position, len(store), store.has_upkeep()
    finally:
        store.close()


FILLED, EMPTY = (10, 1, True), (0, 0, False)


# -- in a directory that outlives the process -------------------------------------------------------------------------


def test_nothing_is_made_before_it_is_asked_for(folder: StoreFolder, tmp_path: Path, temporary: Path) -> None:
    assert not (tmp_path / "data").exists()
    folder.close()
    assert [*temporary.iterdir()] == []


def test_a_file_is_found_again(folder: StoreFolder, tmp_path: Path) -> None:
    assert reopened(folder) == EMPTY
    fill(folder.open("log", 0)).close()
    assert reopened(folder) == FILLED
    assert reopened(StoreFolder(tmp_path / "data" / "timers", clock)) == FILLED
    folder.close()
    assert reopened(folder) == FILLED, "only what is temporary is removed"


def test_nobody_else_may_look_into_them(folder: StoreFolder, tmp_path: Path) -> None:
    folder.open("log", 0).close()
    assert (tmp_path / "data" / "timers").stat().st_mode & 0o777 == 0o700


def test_each_partition_of_each_log_has_a_file_of_its_own(folder: StoreFolder) -> None:
    """A topic of the same name that was deleted is another log, in which nothing of the first is."""
    fill(folder.open("log", 0)).close()
    assert reopened(folder, "log", 1) == EMPTY
    assert reopened(folder, "other", 0) == EMPTY
    assert reopened(folder, "log", 0) == FILLED


@pytest.mark.parametrize(
    ("written_ms", "expected"),
    [
        (NOW, FILLED),
        (NOW - _FRESH_MS, FILLED),
        (NOW - _FRESH_MS - 1, EMPTY),
        (0, EMPTY),
        (NOW + 1, EMPTY),
        (NOW + 10**12, EMPTY),
    ],
    ids=["now", "an hour ago", "before that", "in 1970", "in a millisecond", "in thirty years"],
)
def test_a_file_is_relied_on_for_an_hour(folder: StoreFolder, written_ms: int, expected: tuple[int, int, bool]) -> None:
    """Later its owner's tombstones may be gone from the log; and who knows when a time to come really was."""
    fill(folder.open("log", 0), written_ms).close()
    assert reopened(folder) == expected
    assert reopened(folder) == expected


def test_a_file_that_was_made_anew_is_used_like_any_other(folder: StoreFolder) -> None:
    fill(folder.open("log", 0), NOW - 10 * _FRESH_MS).close()
    fill(folder.open("log", 0), position=20).close()
    assert reopened(folder) == (20, 1, True)


def test_nothing_of_an_old_file_comes_back(folder: StoreFolder, tmp_path: Path) -> None:
    """Its process was killed: what it wrote last lies beside it."""
    file = tmp_path / "data" / "timers" / "log-0.sqlite"
    store = fill(folder.open("log", 0), NOW - 10 * _FRESH_MS)
    left = {each.name: each.read_bytes() for each in file.parent.iterdir()}
    store.close()
    for name, content in left.items():
        (file.parent / name).write_bytes(content)
    assert {"log-0.sqlite", "log-0.sqlite-wal"} <= left.keys()
    assert reopened(folder) == EMPTY
    assert reopened(folder) == EMPTY


def test_what_is_no_file_of_ours_is_made_anew_and_people_are_told(
    folder: StoreFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(folder.open("log", 0)).close()
    (tmp_path / "data" / "timers" / "log-0.sqlite").write_bytes(b"no database at all\n" * 500)
    assert reopened(folder) == EMPTY
    (said,) = caplog.messages
    assert "log-0.sqlite cannot be read (file is not a database): it is made anew from the log" in said
    fill(folder.open("log", 0)).close()
    assert reopened(folder) == FILLED


@pytest.mark.parametrize("size", [100, 4_096, 5_000])
def test_a_file_that_is_cut_short_is_made_anew(
    folder: StoreFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    fill(folder.open("log", 0)).close()
    os.truncate(tmp_path / "data" / "timers" / "log-0.sqlite", size)
    assert reopened(folder) == EMPTY
    assert "made anew from the log" in caplog.text


def test_an_empty_file_is_filled(folder: StoreFolder, tmp_path: Path) -> None:
    """Its process was killed as it began."""
    fill(folder.open("log", 0)).close()
    os.truncate(tmp_path / "data" / "timers" / "log-0.sqlite", 0)
    assert reopened(folder) == EMPTY
    fill(folder.open("log", 0)).close()
    assert reopened(folder) == FILLED


def test_where_no_file_can_be_had_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        StoreFolder(tmp_path / "file", clock).open("log", 0)
    with pytest.raises(OSError, match="file"):
        StoreFolder(tmp_path / "file" / "timers", clock).open("log", 0)
    (tmp_path / "timers" / "log-0.sqlite").mkdir(parents=True)
    with pytest.raises(sqlite3.OperationalError, match="unable to open database file"):
        StoreFolder(tmp_path / "timers", clock).open("log", 0)


def test_a_store_of_another_log_is_discarded(folder: StoreFolder) -> None:
    store = fill(folder.open("log", 0))
    empty = folder.discard(store)
    assert (empty.position, len(empty), empty.file) == (0, 0, store.file)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        len(store)
    fill(empty, position=5).close()
    assert reopened(folder) == (5, 1, True)


# -- where another process has the file -------------------------------------------------------------------------------


@contextmanager
def another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker that has the file of a partition, with a job in it, until it is killed."""
    program = f"""
        from pathlib import Path
        from schemas.headers import DelayedJob
        from streams.timers.store_folder import StoreFolder
        store = StoreFolder(Path({str(folder)!r}), lambda: {NOW}).open("log", 0)
        with store.changing({NOW}, 10):
            store.add(3, DelayedJob(b"job-1", "email", None, 5_000, None), b"value", [])
            store.note_unneeded(b"unneeded")
        print("ready", flush=True)
        input()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_who_finds_a_file_taken_has_a_temporary_one(
    folder: StoreFolder, tmp_path: Path, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An earlier owner that hangs, or a second worker with the same directory."""
    given = tmp_path / "data" / "timers"
    with another_process(given) as other:
        mine = folder.open("log", 0)
        assert temporary in mine.file.parents
        assert (mine.position, len(mine)) == (0, 0)
        fill(mine, position=77)
        assert reopened(folder, "log", 1) == EMPTY, "one that is free is where it should be"
        assert (given / "log-1.sqlite").exists()
        other.kill()
        other.wait(20)
        assert reopened(folder) == FILLED, "what the other had is whole"
        assert mine.position == 77
        mine.close()
    folder.close()
    assert [*temporary.iterdir()] == []
    assert reopened(folder) == FILLED
    assert "made anew" not in caplog.text


# -- in a temporary directory -----------------------------------------------------------------------------------------


def test_without_a_directory_all_is_temporary(temporary: Path) -> None:
    folder = StoreFolder(None, clock)
    first, second = folder.open("log", 0), folder.open("log", 1)
    (place,) = temporary.iterdir()
    assert first.file.parent == second.file.parent == place
    assert place.stat().st_mode & 0o777 == 0o700
    fill(first).close()
    assert reopened(folder) == FILLED, "a partition that comes back has its file"
    second.close()
    folder.close()
    assert [*temporary.iterdir()] == []
    folder.close()
    assert reopened(folder) == EMPTY, "it may be used again"
    assert [*temporary.iterdir()] != [place], "in one that is made for it, and nobody else's by then"
    folder.close()
    assert [*temporary.iterdir()] == []


def test_two_workers_have_temporary_directories_of_their_own(temporary: Path) -> None:
    one, two = StoreFolder(None, clock), StoreFolder(None, clock)
    fill(one.open("log", 0)).close()
    assert reopened(two) == EMPTY
    one.close()
    assert reopened(two) == EMPTY
    assert len([*temporary.iterdir()]) == 1
    two.close()


def test_a_temporary_directory_that_somebody_has_removed_is_no_fault(temporary: Path) -> None:
    folder = StoreFolder(None, clock)
    folder.open("log", 0).close()
    for each in temporary.iterdir():
        shutil.rmtree(each)
    assert reopened(folder) == EMPTY, "it is made again"
    for each in temporary.iterdir():
        shutil.rmtree(each)
    folder.close()


def test_a_damaged_page_is_found_when_the_file_is_opened(folder: StoreFolder, tmp_path: Path) -> None:
    fill(folder.open("log", 0)).close()
    (file,) = (tmp_path / "data" / "timers").glob("*.sqlite")
    content = bytearray(file.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    file.write_bytes(bytes(content))
    assert reopened(folder) == EMPTY
