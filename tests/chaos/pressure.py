"""When the machine had more to do than it has processors: then nobody can be held to a time.

The kernel's pressure stall information (Documentation/accounting/psi.rst) counts the time in which some task could have
run and waited for a processor. Where the kernel does not tell, no time counts as busy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.account import Span
from tests.ledger import SECOND

_FILE = Path("/proc/pressure/cpu")
#: Seconds between two looks, and the share of them from which on the machine counts as busy.
_INTERVAL, _BUSY = 0.25, 0.75


@contextmanager
def watched() -> Iterator[list[Span]]:
    """Until the end of the block, notes the spells in which the machine was busy; they follow one another."""
    spells: list[Span] = []
    enough = threading.Event()
    watcher = threading.Thread(target=_watch, args=(spells, enough), name="pressure")
    if _FILE.exists():
        watcher.start()
    try:
        yield spells
    finally:
        enough.set()
        if watcher.ident is not None:
            watcher.join()


def _watch(spells: list[Span], enough: threading.Event) -> None:
    at, waited = time.monotonic_ns(), _waited()
    while not enough.wait(_INTERVAL):
        now, waited_now = time.monotonic_ns(), _waited()
        if waited_now - waited >= _BUSY * (now - at):
            spells.append(Span(at, now))
        at, waited = now, waited_now


def _waited() -> int:
    """For how long some task has waited for a processor since the machine was started. Nanoseconds."""
    return int(_FILE.read_text().split(maxsplit=5)[4].removeprefix("total=")) * (SECOND // 1_000_000)
