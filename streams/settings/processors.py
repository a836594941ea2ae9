"""How many processors this process may use: not how many the machine has.

A container's limit of CPU time is no set of processors: a limit of 1.5 is taken for two.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path, PurePosixPath


def usable_processors(root: Path = Path("/")) -> int:
    """Those that affinity (taskset, cpusets) allows, and at most what the cgroups allow (containers, systemd)."""
    allowed = _allowed()
    return max(1, min([allowed, *(ceil(limit) for limit in _limits(root))]))


def _allowed() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Not on every system.
        return os.cpu_count() or 1


def _limits(root: Path) -> Iterator[float]:
    """The limits of this process's cgroups and of all above them, in processors; of versions 1 and 2."""
    for controllers, group in _groups(root):
        if not controllers:
            read, places = _limit, ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            read, places = _limit_v1, [f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"]
        else:
            continue
        for place in places:
            # In a container the path may be that of the host, and the files those of the container.
            for each in (group, *group.parents):
                yield from read(root / place / each.relative_to("/"))


def _groups(root: Path) -> Iterator[tuple[str, PurePosixPath]]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        yield controllers, PurePosixPath("/") / group


def _limit(group: Path) -> Iterator[float]:
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return
    if quota != "max":
        yield int(quota) / int(period)


def _limit_v1(group: Path) -> Iterator[float]:
    try:
        quota, period = (int((group / f"cpu.cfs_{each}_us").read_text()) for each in ("quota", "period"))
    except (OSError, ValueError):
        return
    if quota > 0 and period > 0:
        yield quota / period
