"""Which frames of a stack are the worker's own, and which are a handler's: what people read begins with theirs."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from pathlib import Path
from types import TracebackType

_OURS = Path(__file__).parents[2]
#: What is in these stands where a handler would: it is called, and may be what fails, or holds the loop.
_THEIRS = frozenset({"core", "dead", "demo", "jobs"})

_ASYNCIO = Path(asyncio.__file__).parent


@lru_cache(maxsize=1024)
def is_own(file: str) -> bool:
    """Whether the code of a file is the worker's, or the event loop's."""
    path = Path(file)
    if path.is_relative_to(_OURS):
        return path.relative_to(_OURS).parts[0] not in _THEIRS
    return path.parent == _ASYNCIO


def without_own(frames: TracebackType | None) -> TracebackType | None:
    """Returns a traceback from its first frame on that is not the worker's; all of it where there is none."""
    found = frames
    while found is not None and is_own(found.tb_frame.f_code.co_filename):
        found = found.tb_next
    return found or frames
