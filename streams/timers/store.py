"""Keeps the jobs that wait in a partition outside of memory: a cache in SQLite, made again from the log at any time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from schemas.headers import DelayedJob, Headers
from streams.timers.packing import packed, unpacked

#: Of the tables below: a file with another is made anew.
_VERSION = 1

#: Kibibytes of pages that one partition's file may hold in memory.
_CACHE = 4_096

#: Seconds to wait for a file that another process has.
_BUSY = 0.1

_TABLES = """
CREATE TABLE waiting (
    place INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, due INTEGER NOT NULL, held INTEGER NOT NULL,
    commanded INTEGER NOT NULL, queue TEXT NOT NULL, key BLOB, stated INTEGER NOT NULL, moved_from BLOB,
    value BLOB NOT NULL, headers BLOB NOT NULL
);
CREATE INDEX by_time ON waiting (MAX(due, held), place);
CREATE TABLE moved (place BLOB PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE unneeded (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE malformed (
    place INTEGER PRIMARY KEY, key BLOB, value BLOB, headers BLOB NOT NULL, why TEXT NOT NULL
);
CREATE TABLE state (position INTEGER NOT NULL, saved_ms INTEGER NOT NULL);
"""


_DUE = """
SELECT place, due, commanded, id, queue, key, stated, moved_from, value, headers FROM waiting
WHERE MAX(due, held) <= ? ORDER BY MAX(due, held), place LIMIT ?
"""
_FIND = """
SELECT place, due, commanded, id, queue, key, stated, moved_from, value, headers FROM waiting WHERE id = ?
"""


class StoreFull(Exception):
    """The disk, or the directory's quota, has no room; nothing was changed."""


class WaitingJob(NamedTuple):
    """A job that waits, as it is kept.

    place      its record's offset
    due_ms     when it falls due: what its record says, or a later command
    commanded  whether a command's record lies beside it
    """

    place: int
    job: DelayedJob
    value: bytes
    headers: Headers
    due_ms: int
    commanded: bool


class MalformedRecord(NamedTuple):
    """A record that is no delayed job, as it was read; in `why` a sentence that says what is expected."""

    place: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    why: str


class TimerStore:
    """The jobs of one partition that wait. Belongs to one thread.

    Each change is made within `changing`: all of it, with the position up to which the log has been read, or nothing.
    Raises StoreFull where there is no room.
    """

    def __init__(self, file: Path) -> None:
        """Open a file, or make it; raises sqlite3.Error for one that is none, and for one that another process has."""
        self.file = file
        self._connection = sqlite3.connect(file, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        execute = self._connection.execute
        try:
            execute("PRAGMA locking_mode=EXCLUSIVE")
            execute("PRAGMA journal_mode=WAL")
            # What a power cut takes is the last changes, whole ones, with their positions: the log has them.
            execute("PRAGMA synchronous=NORMAL")
            execute(f"PRAGMA cache_size=-{_CACHE}")
            execute("BEGIN IMMEDIATE")
            if execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                _make_tables(self._connection)
            execute("COMMIT")
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @property
    def position(self) -> int:
        """The offset up to which the log has been read."""
        found: int = self._connection.execute("SELECT position FROM state").fetchone()[0]
        return found

    @property
    def saved_ms(self) -> int:
        """When that was noted."""
        found: int = self._connection.execute("SELECT saved_ms FROM state").fetchone()[0]
        return found

    def __len__(self) -> int:
        found: int = self._connection.execute("SELECT COUNT(*) FROM waiting").fetchone()[0]
        return found

    @contextmanager
    def changing(self, now_ms: int, position: int | None = None) -> Iterator[None]:
        """Make changes, all or none of them.

        position  up to which the log has been read with them; as before where it is None
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute(
                    "UPDATE state SET position = COALESCE(?, position), saved_ms = ?", (position, now_ms)
                )
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}:
                raise StoreFull(str(error)) from error
            raise

    # -- changes -------------------------------------------------------------------------------------------------------

    def add(self, place: int, job: DelayedJob, value: bytes, headers: Headers) -> None:
        """Have a job wait, in place of another of its id."""
        job_id, queue, key, due_ms, moved_from = job
        self._connection.execute(
            "INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, 0,"
            " COALESCE((SELECT commanded FROM waiting WHERE id = ?), 0), ?, ?, ?, ?, ?, ?)",
            (place, job_id, due_ms, job_id, queue, key, due_ms, moved_from, value, packed(headers)),
        )

    def change_due(self, job_id: bytes, due_ms: int) -> bool:
        """Have a job fall due at another time. Returns False if it does not wait."""
        found = self._connection.execute(
            "UPDATE waiting SET due = ?, held = 0, commanded = 1 WHERE id = ?", (due_ms, job_id)
        )
        return found.rowcount > 0

    def remove(self, job_id: bytes) -> bool:
        """Have a job wait no longer. Returns whether a command's record lies beside it."""
        found = self._connection.execute("DELETE FROM waiting WHERE id = ? RETURNING commanded", (job_id,)).fetchall()
        return bool(found) and bool(found[0][0])

    def remove_places(self, places: Iterable[int]) -> None:
        """Have the jobs of some records wait no longer."""
        self._connection.executemany("DELETE FROM waiting WHERE place = ?", [(place,) for place in places])

    def hold(self, places: Iterable[int], until_ms: int) -> None:
        """Have due jobs wait longer, since they cannot go to their queue just now."""
        self._connection.executemany("UPDATE waiting SET held = ? WHERE place = ?", [(until_ms, at) for at in places])

    def note_moved(self, moved_from: bytes, now_ms: int) -> None:
        """Note that a job was fired that had been moved here from its queue's topic."""
        self._connection.execute("INSERT OR REPLACE INTO moved VALUES (?, ?)", (moved_from, now_ms))

    def was_moved(self, moved_from: bytes) -> bool:
        """Whether such a job was fired."""
        return self._connection.execute("SELECT 1 FROM moved WHERE place = ?", (moved_from,)).fetchone() is not None

    def forget_moved(self, before_ms: int) -> None:
        """Forget those that were fired before a time."""
        self._connection.execute("DELETE FROM moved WHERE at < ?", (before_ms,))

    def note_unneeded(self, key: bytes) -> None:
        """Note that the record of a key says nothing any more: it is to have a tombstone."""
        self._connection.execute("INSERT OR IGNORE INTO unneeded VALUES (?)", (key,))

    def forget_unneeded(self, keys: Iterable[bytes]) -> None:
        """Forget keys that have their tombstones."""
        self._connection.executemany("DELETE FROM unneeded WHERE key = ?", [(key,) for key in keys])

    def note_malformed(self, record: MalformedRecord) -> None:
        """Keep a record that is none of ours until its dead letter is written."""
        place, key, value, headers, why = record
        self._connection.execute(
            "INSERT OR REPLACE INTO malformed VALUES (?, ?, ?, ?, ?)", (place, key, value, packed(headers), why)
        )

    def forget_malformed(self, places: Iterable[int]) -> None:
        """Forget records whose dead letters are written."""
        self._connection.executemany("DELETE FROM malformed WHERE place = ?", [(place,) for place in places])

    # -- questions -----------------------------------------------------------------------------------------------------

    def due(self, now_ms: int, most: int) -> list[WaitingJob]:
        """The jobs that are due, at most so many, in the order in which they fall due."""
        rows = self._connection.execute(_DUE, (now_ms, most))
        return [_waiting(row) for row in rows]

    def next_due(self) -> int | None:
        """When the next job is due, or is to be tried again; None where none waits."""
        row = self._connection.execute("SELECT MAX(due, held) FROM waiting ORDER BY MAX(due, held), place LIMIT 1")
        found: tuple[int] | None = row.fetchone()
        return None if found is None else found[0]

    def find(self, job_id: bytes) -> WaitingJob | None:
        """The job of an id, if it waits."""
        row = self._connection.execute(_FIND, (job_id,)).fetchone()
        return None if row is None else _waiting(row)

    def has_upkeep(self) -> bool:
        """Whether there is anything in `unneeded` or `malformed`."""
        asked = "SELECT EXISTS (SELECT 1 FROM unneeded) OR EXISTS (SELECT 1 FROM malformed)"
        return bool(self._connection.execute(asked).fetchone()[0])

    def unneeded(self, most: int) -> list[bytes]:
        """Keys whose records are to have tombstones."""
        return [key for (key,) in self._connection.execute("SELECT key FROM unneeded LIMIT ?", (most,))]

    def malformed(self, most: int) -> list[MalformedRecord]:
        """Records that are none of ours."""
        rows = self._connection.execute("SELECT * FROM malformed ORDER BY place LIMIT ?", (most,))
        return [MalformedRecord(place, key, value, unpacked(headers), why) for place, key, value, headers, why in rows]


def _make_tables(connection: sqlite3.Connection) -> None:
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in tables:
        connection.execute(f'DROP TABLE "{name}"')
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    connection.execute("INSERT INTO state VALUES (0, 0)")
    connection.execute(f"PRAGMA user_version={_VERSION}")


def _waiting(row: tuple[Any, ...]) -> WaitingJob:
    place, due_ms, commanded, job_id, queue, key, stated, moved_from, value, headers = row
    return WaitingJob(
        place, DelayedJob(job_id, queue, key, stated, moved_from), value, unpacked(headers), due_ms, bool(commanded)
    )
