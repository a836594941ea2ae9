"""Which jobs may have killed the worker that ran them: what a partition's commits say about that, beside the map.

A job that kills its process (a segfault, os._exit, memory that runs out) takes with it what anybody could have said
of it at that moment. So it is said before. An owner notes in its commits that it holds the partition, and in its last
one that it has let it go in order; who finds a partition *open* knows that the last owner died, and is *unsure* of
every job that one may have been running. Of these it starts few at once, and each only when a commit names it as
*running*.

What is found running in the commit of a dead owner has a *death* to its account, and such jobs run one at a time. So
the third death is that of a job that ran alone, and then it is certain enough:

    1   unknown     any job that was read and unfinished; those of the next owner are named when they start
    2   in company  a handful of them are named; each has a death now
    3   alone       it has two, and is not started again

Only jobs that were running at a death pay for it, and a job that ends in whatever way is cleared.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Protocol

#: Characters that this may take up of a commit's metadata.
CUSTODY_LIMIT = 512

#: Jobs of one partition that may be named at once.
COMPANY = 24

#: What divides this from the map.
MARK = "~"

#: Deaths in company or alone after which a job is not started again.
_ENOUGH = 2

_TEXT = re.compile(r"~([01])((?:,\d{1,18}[.!]\d)*)")


class Pending(Protocol):
    """What is asked of a tracker of offsets."""

    def is_pending(self, offset: int) -> bool: ...


class Way(Enum):
    """How a job may be started."""

    FREELY = "freely"
    IN_COMPANY = "in company"
    ALONE = "alone"
    NEVER = "never"


class Custody:
    """Who holds a partition of a log, and the jobs that are suspected.

    Invariant: every named job is unfinished, and `text` names all that run while the owner is unsure of them.
    """

    __slots__ = ("_deaths", "_running", "open", "unsure_end")

    def __init__(self, text: str = "", *, from_offset: int = 0) -> None:
        #: Whether an owner holds it, or held it and did not let it go.
        self.open = False
        #: The owner is unsure of jobs at offsets below this.
        self.unsure_end = 0
        self._deaths: dict[int, int] = {}
        self._running: set[int] = set()
        self._restore(text, from_offset)

    def _restore(self, text: str, offset: int) -> None:
        found = _TEXT.fullmatch(text)
        if found is None:
            return
        self.open = found[1] == "1"
        for item in found[2].split(",")[1:]:
            kind = "!" if "!" in item else "."
            step, deaths = item.split(kind)
            offset += int(step)
            count = int(deaths) + (kind == "!" and self.open)
            if count:
                self._deaths[offset] = min(9, count)

    def text(self, watermark: int, pending: Pending) -> str:
        """What a commit says of it, after the map."""
        named = {offset: self._deaths.get(offset, 0) for offset in (*self._deaths, *self._running)}
        text, last = f"{MARK}{int(self.open)}", watermark
        for offset in sorted(filter(pending.is_pending, named)):
            item = f",{offset - last}{'!' if offset in self._running else '.'}{named[offset]}"
            if len(text) + len(item) > CUSTODY_LIMIT:
                break
            text += item
            last = offset
        return "" if text == f"{MARK}0" else text

    def doubt(self, end: int) -> None:
        """Be unsure of all jobs below an offset, if the last owner has not let go in order."""
        if self.open:
            self.unsure_end = end
        self._deaths = dict(sorted(self._deaths.items())[:COMPANY])

    def let_go(self, watermark: int) -> None:
        """Note that the owner leaves in order, and that nothing runs any more.

        What it was unsure of and has not run is left to the next owner to be unsure of.
        """
        self.open = not self.sure(watermark)

    def sure(self, watermark: int) -> bool:
        """Whether nothing is left to be unsure of."""
        if self.unsure_end > watermark or self._running:
            return False
        if any(offset >= watermark for offset in self._deaths):
            return False
        self._deaths.clear()
        self.unsure_end = 0
        return True

    def way(self, offset: int) -> Way:
        """How the job at an offset may be started."""
        deaths = self._deaths.get(offset, 0)
        if deaths >= _ENOUGH:
            return Way.NEVER
        if deaths:
            return Way.ALONE
        return Way.IN_COMPANY if offset < self.unsure_end else Way.FREELY

    @property
    def crowded(self) -> bool:
        """Whether no more jobs should be named for now. One always may, lest those behind it wait for ever."""
        return bool(self._running) and len(self._deaths.keys() | self._running) >= COMPANY

    def start(self, offset: int) -> None:
        """Name a job as running. It may start when a commit has said so."""
        self._running.add(offset)

    def end(self, offset: int) -> None:
        """The run is over, and whatever it came to, it killed nobody."""
        self._running.discard(offset)
        self._deaths.pop(offset, None)
