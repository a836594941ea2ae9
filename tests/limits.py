"""Limits that a running process gets, as a container or `ulimit` would set them, and loses again. Linux only."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path

import psutil

_PIDS = Path("/sys/fs/cgroup/pids")


class Limit(Enum):
    """What a process gets no more of."""

    THREADS = "threads"
    DESCRIPTORS = "descriptors"
    MEMORY = "memory"


#: What is left of each when a limit is set: bytes of memory.
_ROOM = {Limit.DESCRIPTORS: 1, Limit.MEMORY: 4_000_000}


def can_limit(what: Limit) -> bool:
    """Whether this machine lets us. A limit of threads does not bind root, but for that of a control group."""
    return what is not Limit.THREADS or os.access(_PIDS / "cgroup.procs", os.W_OK)


def limit(what: Limit, process: int) -> Callable[[], None]:
    """Let a process have hardly more than it has; returns what takes the limit back, also when it is gone."""
    if what is Limit.THREADS:
        return _limit_threads(process)
    known = psutil.Process(process)
    if what is Limit.DESCRIPTORS:
        number, most = psutil.RLIMIT_NOFILE, known.num_fds() + _ROOM[what]
    else:
        number, most = psutil.RLIMIT_AS, known.memory_info().vms + _ROOM[what]
    before = known.rlimit(number)
    known.rlimit(number, (most, before[1]))

    def unlimited() -> None:
        with suppress(psutil.NoSuchProcess):
            known.rlimit(number, before)

    return unlimited


def _limit_threads(process: int) -> Callable[[], None]:
    group = _PIDS / f"limited-{process}"
    group.mkdir(exist_ok=True)
    (group / "cgroup.procs").write_text(str(process))
    (group / "pids.max").write_text((group / "pids.current").read_text())

    def unlimited() -> None:
        (group / "pids.max").write_text("max")
        for each in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (_PIDS / "cgroup.procs").write_text(each)
        with suppress(OSError):
            group.rmdir()

    return unlimited
