"""A worker that is frozen for longer than its session, and thaws: its group has gone on without it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from tests.integration.conftest import Fleet
from tests.ledger import SECOND, Run
from tests.ledger_rules import inversions, lost, overlaps, repeats
from tests.publishing import Steps, load
from tests.waiting import until
from tests.workers import Worker, Workers

#: The shortest that a broker allows by default.
SESSION_SECONDS = 6
#: What runs when the worker is frozen goes on for longer than any handover may wait.
LONG_SECONDS = 60.0
#: A thawed worker needs a heartbeat to hear that its partitions are gone. A handover would wait for 5 s.
NOTICE_SECONDS = 2.0
JOINED = "Joined group"


def test_a_worker_that_thaws_lets_go_of_everything(
    fleet: Fleet, kafka: str, namespace: str, show: Callable[[str], None]
) -> None:
    workers = fleet("tests.jobs.ordered", session_timeout=SESSION_SECONDS)
    frozen, other = workers.start(2)
    book = workers.ledger
    with ExitStack() as publishing:
        steps = publishing.enter_context(Steps(kafka, namespace))
        long = {steps.publish(f"long-{number}", LONG_SECONDS) for number in range(24)}
        publishing.enter_context(load(lambda number: _publish(steps, number), rate=250))
        until(lambda: long <= book.started and len(book.done) > 500, within=30, what="work is under way")
        cut = {run.job for run in book.runs() if run.job in long and run.process == frozen.pid}
        frozen.freeze()
        _await_takeover(workers, other, cut)
        thawed = frozen.thaw()
        until(lambda: _started_after(workers, frozen, thawed, 200), within=30, what="the thawed worker works again")
    workers.await_done(steps.ids - long, within=60)
    for worker in workers.running:
        worker.terminate()
    # What runs for too long is cancelled; only the order and the moment matter here.
    runs = book.runs()
    ends = [run.end for run in runs if run.job in cut and run.process == frozen.pid and run.end]
    show(f"{len(steps.ids):,} jobs, {len(repeats(runs))} ran again; {len(cut)} long ones were cut at most"
         f" {max(ends, default=thawed) / SECOND - thawed / SECOND:.3f} s after the thaw")  # fmt: skip
    assert cut, "the frozen worker ran nothing long: the test proves less than it says"
    assert len(ends) >= len(cut)
    assert not lost(steps.ids - long, runs)
    assert not [run for run in inversions(runs) if run[0].job not in long]
    for pair in overlaps(runs):
        _check_overlap(pair, frozen, thawed)


def _check_overlap(pair: tuple[Run, Run], frozen: Worker, thawed: int) -> None:
    """Nobody can keep a frozen worker from going on with what it ran, until it hears from the broker."""
    earlier, later = pair
    assert (earlier.process, later.process != frozen.pid) == (frozen.pid, True), f"{earlier} and {later}"
    assert earlier.start < thawed, f"started by a worker that was no member: {earlier}"
    assert earlier.end is not None
    assert earlier.end < thawed + NOTICE_SECONDS * SECOND, f"{earlier} went on long after the thaw"


def _await_takeover(workers: Workers, other: Worker, jobs: set[str]) -> None:
    joins = other.count(JOINED)
    until(lambda: other.count(JOINED) > joins, within=30, what="the other worker takes over")

    def taken() -> bool:
        return jobs <= {run.job for run in workers.ledger.runs() if run.process == other.pid}

    until(taken, within=30, what="the other worker runs what the frozen one had begun")


def _started_after(workers: Workers, worker: Worker, at: int, count: int) -> bool:
    return sum(run.process == worker.pid and run.start > at for run in workers.ledger.runs()) > count


def _publish(steps: Steps, number: int) -> None:
    steps.publish(f"key-{number % 50}", 0.005 * (number % 9))
