"""What a ledger must not show: pure functions, each of which returns what breaks its rule.

A kill is a process and when it was killed, in nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise

from tests.ledger import SECOND, Run

#: How long a finished job may take to be committed. Seconds.
WINDOW = 0.05

Kills = Mapping[int, int]


def lost(published: Iterable[str], runs: Iterable[Run]) -> set[str]:
    """The published jobs that were never done."""
    return set(published) - {run.job for run in runs if run.done}


def repeats(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The jobs that ran more than once, with their runs by start."""
    found: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.start):
        found[run.job].append(run)
    return {job: again for job, again in found.items() if len(again) > 1}


def unexplained(runs: Iterable[Run], kills: Kills, *, window: float = WINDOW) -> list[tuple[Run, Run]]:
    """Runs that were repeated, with their repetition, although no kill explains it.

    A kill (its process and when) explains it for a run that went on at the time or had ended within `window` seconds
    before.
    """
    pairs = [pair for again in repeats(runs).values() for pair in pairwise(again)]
    return [(run, repeat) for run, repeat in pairs if not _explained(run, repeat, kills, window)]


def _explained(run: Run, repeat: Run, kills: Kills, window: float) -> bool:
    killed = kills.get(run.process)
    if killed is None or repeat.start < killed:
        return False
    return run.end is None or run.end >= killed - window * SECOND


def inversions(runs: Iterable[Run]) -> list[tuple[Run, int]]:
    """Runs that started before an earlier job of their key was done for the first time, with that job's number.

    It holds repetitions to the rule, too: they come after what had been done before, which says nothing against them.
    """
    found = []
    for of_key in _by_key(runs).values():
        done = _first_ends(of_key)
        for run in of_key:
            found += [(run, seq) for seq in _undone_before(run, done)]
    return found


def _first_ends(runs: Iterable[Run]) -> dict[int, int]:
    ends: dict[int, int] = {}
    for run in runs:
        if run.done and run.end is not None:
            ends[run.seq] = min(run.end, ends.get(run.seq, run.end))
    return ends


def _undone_before(run: Run, done: Mapping[int, int]) -> list[int]:
    # Nearly always the job just before tells: it started only after all before it.
    if run.seq == 0:
        return []
    previous = done.get(run.seq - 1)
    return [run.seq - 1] if previous is None or previous > run.start else []


def overlaps(runs: Iterable[Run], kills: Kills | None = None) -> list[tuple[Run, Run]]:
    """Pairs of runs of one key that went on at the same time. A run of a killed process ended with it."""
    found = []
    for of_key in _by_key(runs).values():
        latest: tuple[float, Run] | None = None
        for run in of_key:
            if latest is not None and run.start < latest[0]:
                found.append((latest[1], run))
            end = _end(run, kills or {})
            if latest is None or end > latest[0]:
                latest = (end, run)
    return found


def _end(run: Run, kills: Kills) -> float:
    return run.end if run.end is not None else kills.get(run.process, float("inf"))


def _by_key(runs: Iterable[Run]) -> dict[str, list[Run]]:
    keys: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.start):
        if run.key:
            keys[run.key].append(run)
    return keys


def recent(runs: Iterable[Run], process: int, killed: int, *, window: float = WINDOW) -> set[str]:
    """The jobs that a process was running when it was killed, or had ended within `window` seconds before."""
    mine = [run for run in runs if run.process == process and run.start <= killed]
    return {run.job for run in mine if run.end is None or run.end >= killed - window * SECOND}


def most_at_once(runs: Iterable[Run]) -> int:
    """How many runs went on at the same time at the most."""
    ended = [run for run in runs if run.end is not None]
    starts, ends = sorted(run.start for run in ended), sorted(run.end or 0 for run in ended)
    return max((at + 1 - bisect_right(ends, start) for at, start in enumerate(starts)), default=0)
