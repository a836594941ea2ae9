"""Where the stores of partitions are: in a directory that outlives the process, or in a temporary one."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from streams.ports.timers import Clock
from streams.timers.store import TimerStore

logger = logging.getLogger(__name__)

#: How long ago a store may have been written to be relied on. What has been fired since then by others is told by
#: tombstones, which the log keeps for 24 hours. Milliseconds.
_FRESH_MS = 3_600_000


class StoreFolder:
    """The files of one topic's partitions. Belongs to one thread.

    What is found is used only where it is of this very log and was written within the last hour: else it is made anew,
    and the log read from its start.
    """

    def __init__(self, folder: Path | None, clock: Clock) -> None:
        """Nothing is made yet.

        folder  None for a temporary one, which `close` removes
        """
        self._given = folder
        self._temporary: Path | None = None
        self._clock = clock

    def open(self, log: str, partition: int) -> TimerStore:
        """The store of a partition. Raises OSError and sqlite3.Error where none can be had.

        log  what tells the log from that of a topic of the same name that was deleted
        """
        folder = self._folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = folder / f"{log}-{partition}.sqlite"
        try:
            store = TimerStore(file)
            fresh = not store.position or 0 <= self._clock() - store.saved_ms <= _FRESH_MS
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            # An earlier owner on this machine has not let go of it yet, or two workers share a directory.
            return TimerStore(Path(tempfile.mkdtemp(dir=self._own())) / file.name)
        except sqlite3.DatabaseError as error:
            logger.warning("%s cannot be read (%s): it is made anew from the log", file, error)
            return self._anew(file)
        if not fresh:
            store.close()
            return self._anew(file)
        return store

    def discard(self, store: TimerStore) -> TimerStore:
        """An empty store in place of one that is of another log, or damaged. Raises as `open` does."""
        store.close()
        return self._anew(store.file)

    def close(self) -> None:
        """Remove what is temporary; the stores are closed by now."""
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def _anew(self, file: Path) -> TimerStore:
        for each in _files_of(file):
            each.unlink(missing_ok=True)
        return TimerStore(file)

    def _folder(self) -> Path:
        return self._own() if self._given is None else self._given

    def _own(self) -> Path:
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="jobs-timers-"))
        return self._temporary


def _files_of(file: Path) -> Iterator[Path]:
    """The files that SQLite makes of one."""
    yield file
    for suffix in ("-wal", "-shm"):
        yield file.with_name(file.name + suffix)
