"""Order, completeness and few repetitions while workers are killed, added and stopped."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

from tests.answering import answers
from tests.integration.conftest import Fleet
from tests.ledger import SECOND
from tests.ledger_rules import WINDOW, inversions, lost, overlaps, recent, repeats, unexplained
from tests.publishing import Steps, load
from tests.waiting import until

JOBS = 10_000
WARM_UP = 2_000
RATE = 2_500
KEYS = 200
MEAN_SECONDS = 0.0015


def test_a_kill_a_newcomer_and_a_stop_under_load(
    fleet: Fleet, kafka: str, namespace: str, show: Callable[[str], None]
) -> None:
    workers = fleet("tests.jobs.ordered")
    victim, _, leaver = workers.start(3)
    book = workers.ledger
    queue = f"{namespace}.ordered"
    with Steps(kafka, namespace) as steps, answers(kafka, queue, group=f"{namespace}.answers") as broker:
        # The first commits of a broker and of workers that have done nothing yet take many times as long.
        for key, seconds in _zipf(random.Random(19), WARM_UP):
            steps.publish(key, seconds)
        until(lambda: len(book.done) == WARM_UP, within=30, what="broker and workers warmed up")
        jobs = iter(_zipf(random.Random(20), JOBS))
        with load(lambda _: steps.publish(*next(jobs)), rate=RATE, times=JOBS) as published:
            until(lambda: len(book.done) > WARM_UP + JOBS // 4, within=30, what="a quarter of the jobs done")
            killed = workers.kill(victim)
            before = len(book.done)
            workers.launch()  # it is started again,
            workers.launch()  # and another one joins
            until(lambda: len(book.done) > before + JOBS // 20, within=30, what="work goes on after the kill")
            leaver.terminate()
            published.wait()
    workers.await_done(steps.ids, within=60)
    runs = book.runs()
    after = (max(run.end or 0 for run in runs) - killed) / SECOND
    # A commit cannot be quicker than the broker, which has to share two processors with all of this: what ends just
    # after one was sent is in the next one, which waits until that is answered.
    window = WINDOW + 2 * broker.slowest(killed - SECOND // 2, killed)
    again, justified = repeats(runs), recent(runs, victim.pid, killed, window=window)
    pause = _longest_pause([run.start for run in runs]) / SECOND
    show(f"{before - WARM_UP:,} of {JOBS:,} done at the kill, all {after:.2f} s after it; longest pause {pause:.2f} s")
    show(f"{len(again)} jobs ran again; {len(justified)} ran at the kill or had ended in the {window:.3f} s before")
    workers.stop()
    assert leaver.wait() == 0
    assert not lost(steps.ids, runs)
    assert not inversions(runs)
    assert not overlaps(runs, workers.kills)
    assert not unexplained(runs, workers.kills, window=window)
    assert len(again) <= len(justified)


def _zipf(chance: random.Random, jobs: int) -> list[tuple[str, float]]:
    """Keys, the n-th popular of which has 1/n of the jobs of the first, and random durations."""
    keys = chance.choices(range(KEYS), weights=[1 / (rank + 1) for rank in range(KEYS)], k=jobs)
    return [(f"key-{key}", chance.expovariate(1 / MEAN_SECONDS)) for key in keys]


def _longest_pause(starts: list[int]) -> int:
    ordered = sorted(starts)
    return max(after - before for before, after in pairwise(ordered))
