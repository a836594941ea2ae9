"""A rolling upgrade: workers of the version before and of this one serve one group, and take over from each other.

What one of them writes the other reads: commits with their maps, fences and crash records, retries, dead letters.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests import released
from tests.integration.conftest import Fleet
from tests.jobs.failing import LATER_IN
from tests.ledger import SECOND, Mark, Run
from tests.ledger_rules import inversions, lost, overlaps, repeats, unexplained
from tests.publishing import Steps, load
from tests.topics import count, lag, read_all
from tests.unfinished import finished_beyond, suspicious, unfinished
from tests.waiting import until
from tests.workers import ROOT, Worker, Workers

Show = Callable[[str], None]

JOBS, QUEUE = "tests.jobs.upgraded", "failing"

#: Jobs a second that are published while workers are replaced.
RATE = 60
#: Jobs that each worker has done before the next step: it has partitions, and both versions have written commits.
ENOUGH = 20

#: What a worker says that finds a claim which was not released.
CAUTION = "a worker died that had"

#: Seconds within which what has ended is committed; a run that has failed is so when its retry is written.
WINDOW = 0.25

#: Seconds: a due time is a whole number of milliseconds.
EARLY = -0.002


@dataclass(frozen=True)
class Version:
    """One of the two versions, and where its packages lie."""

    packages: Path

    @property
    def environment(self) -> Mapping[str, str]:
        return released.served_from(self.packages)


@dataclass(frozen=True)
class Versions:
    """The version before and this one."""

    before: Version
    this: Version


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    return Versions(Version(released.unpack(tmp_path_factory.mktemp("before"))), Version(ROOT))


class Course:
    """Publishes what a group has to do: jobs that succeed, are slow, are retried, wait for long, or are given up.

    A job that is given up has a key of its own, with one job behind it: the rules of the ledger ask for every job
    before another of its key to be done.
    """

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        #: Jobs that are given up at once, and the one behind each.
        self.hopeless: dict[str, str] = {}
        #: Jobs that wait for LATER_IN, and those behind them.
        self.later: set[str] = set()
        self.behind: set[str] = set()

    def publish(self, number: int) -> None:
        key = f"key-{number % 37}"
        if number % 50 == 7:
            self.give_up(f"hopeless-{number}")
        elif number % 50 == 29:
            self._step(f"slow-{number}", seconds=2.0)
        else:
            fails, says = 2 * (number % 50 == 0), "retry" * (number % 50 == 13)
            self._step(key, seconds=0.003 * (number % 5), fails=fails, says=says)

    def give_up(self, key: str) -> None:
        """A job that is a dead letter after its first run."""
        job = self._step(key, fails=-1)
        self.hopeless[job] = self._step(key)

    def park(self, name: str) -> set[str]:
        """Jobs that wait longer than it takes to replace a worker; each has one behind it, which waits with it."""
        keys = [f"{name}-{number}" for number in range(24)]
        jobs = {self._step(key, says="retry later") for key in keys}
        self.later |= jobs
        self.behind |= {self._step(key) for key in keys}
        return jobs

    @property
    def to_be_done(self) -> set[str]:
        return self.steps.ids - self.hopeless.keys()

    def _step(self, key: str, *, seconds: float = 0.0, fails: int = 0, says: str = "") -> str:
        return self.steps.publish(key, seconds, queue=QUEUE, fails=fails, says=says)


def test_workers_are_replaced_one_by_one_and_one_is_taken_back(
    fleet: Fleet, kafka: str, namespace: str, versions: Versions, show: Show
) -> None:
    workers = fleet(JOBS)
    before, this = versions.before.environment, versions.this.environment
    old = workers.start(2, environment=before)
    with Steps(kafka, namespace) as steps:
        course = Course(steps)
        with load(course.publish, rate=RATE):
            _await_work(workers)
            new = workers.start(environment=this)  # a group of both
            _await_work(workers)
            old[0].stop()
            new += workers.start(environment=this)
            _await_work(workers)
            left_by_old = _await_parked(workers, course.park("before"))
            old[1].stop()  # the upgrade is done
            workers.await_settled()
            _await_work(workers)
            workers.await_done(left_by_old, within=LATER_IN + 30)  # by this version, before the other comes back
            new[0].stop()  # one is taken back
            old += workers.start(environment=before)
            _await_work(workers)
            left_by_new = _await_parked(workers, course.park("this"))
            new[1].stop()  # and the other
            workers.await_settled()
            _await_work(workers)
        workers.await_done(course.to_be_done, within=90)
    _check_versions(workers, {versions.before: old, versions.this: new})
    _check_order(workers, course)
    _check_later(workers, course)
    runs = workers.ledger.runs()
    assert _crossings(runs, left_by_old, old, new), "nothing that the version before had parked was run by this one"
    assert _crossings(runs, left_by_new, new, old), "nothing that this version had parked was run by the version before"
    cut = [first for pair in repeats(_attempts(runs)).values() for first in pair[:-1] if first.done or first.failed]
    assert not cut, "all stopped in order, so that only what a handover has cut short runs again"
    show(f"{len(runs):,} runs of {len(steps.ids):,} jobs on {len(old)} workers of the version before and {len(new)} of"
         f" this one; {len(repeats(_attempts(runs)))} repeated")  # fmt: skip
    _check_letters(workers, course, versions, old, new)
    workers.stop()
    assert not unfinished(kafka, workers.group, f"{namespace}.{QUEUE}")
    assert lag(kafka, workers.group, f"{namespace}.{QUEUE}") == 0
    assert lag(kafka, workers.group, f"{namespace}.{QUEUE}.retry") == 0


@pytest.mark.parametrize("upgrade", [True, False], ids=["upgrade", "rollback"])
def test_the_other_version_takes_over_what_one_leaves_behind(
    fleet: Fleet, kafka: str, namespace: str, versions: Versions, show: Show, upgrade: bool
) -> None:
    """A stop in order leaves maps of what is finished, a kill a claim that was not released; both leave retries.

    The version before reads all of that but the claim of this one: it starts what ran at the kill like any other job.
    """
    workers = fleet(JOBS, session_timeout=6)
    first, second = (versions.before, versions.this) if upgrade else (versions.this, versions.before)
    (one,) = workers.start(environment=first.environment)
    book, topic = workers.ledger, f"{namespace}.{QUEUE}"
    with Steps(kafka, namespace) as steps:
        course = Course(steps)
        slow = [steps.publish("slow", 1.5, queue=QUEUE) for _ in range(4)]
        parked = course.park("parked")
        for number in range(1500):
            course.publish(number)
        steps.flush()
        _await_parked(workers, parked)
        until(lambda: slow[0] in book.started and len(book.done) > 300, within=30, what="work is well under way")
        one.stop()
        beyond = finished_beyond(kafka, workers.group, topic)
        assert beyond, "nothing was finished beyond an unfinished job: the test proves less than it says"
        assert not suspicious(kafka, workers.group, topic)
        (two,) = workers.start(environment=second.environment)
        _await_work(workers)
        with load(lambda number: course.publish(1500 + number), rate=RATE):
            _await_work(workers)
            workers.kill(two)
        assert suspicious(kafka, workers.group, topic), "a claim that was not released stands in the commits"
        (three,) = workers.start(environment=first.environment)
        if first is versions.this:
            until(lambda: three.count(CAUTION), within=10, what="it reads that its partitions were not released")
        workers.await_done(course.to_be_done, within=90)
    _check_versions(workers, {first: [one, three], second: [two]})
    _check_order(workers, course)
    _check_later(workers, course)
    assert one.count(CAUTION) == two.count(CAUTION) == 0, "nothing is suspected after a stop in order"
    runs = workers.ledger.runs()
    again = repeats(_attempts(runs))
    show(f"{len(runs):,} runs of {len(steps.ids):,} jobs; {len(beyond)} were finished beyond others at the stop;"
         f" {len(again)} ran at the kill and again")  # fmt: skip
    assert not unexplained(_attempts(runs), workers.kills, window=WINDOW), "only what ran at the kill runs again"
    workers.stop()
    assert not unfinished(kafka, workers.group, topic)
    dead = {letter.header("ce_id") for letter in read_all(kafka, f"{topic}.dead")}
    assert dead == course.hopeless.keys()


def _await_work(workers: Workers) -> None:
    """Return when every worker that runs has done some more jobs."""
    known = len(workers.ledger.entries())

    def worked() -> bool:
        done = Counter(entry.process for entry in workers.ledger.entries()[known:] if entry.mark is Mark.END)
        return all(done[worker.pid] >= ENOUGH for worker in workers.running)

    until(worked, within=60, what=lambda: f"every worker has done {ENOUGH} jobs more:\n{workers.tails()}")


def _await_parked(workers: Workers, jobs: set[str]) -> set[str]:
    """Wait until all these jobs have failed once; what waits behind each is written with it. Returns the jobs."""
    until(lambda: jobs <= {run.job for run in workers.ledger.runs() if run.failed}, within=30, what="jobs are parked")
    return jobs


def _check_versions(workers: Workers, expected: Mapping[Version, list[Worker]]) -> None:
    for version, those in expected.items():
        for worker in those:
            loaded = released.noted(workers.directory, worker.pid)
            assert loaded == str(version.packages / "streams" / "__init__.py")


def _check_order(workers: Workers, course: Course) -> None:
    """No job is lost, and those of a key run one after another, in their order, also behind one that is given up."""
    runs = workers.ledger.runs()
    assert not lost(course.to_be_done, runs)
    hopeless = course.hopeless.keys() | set(course.hopeless.values())
    assert not inversions(run for run in runs if run.job not in hopeless)
    assert not overlaps(runs, workers.kills)
    for job, behind in course.hopeless.items():
        last = _of(runs, job)[-1]
        assert not last.done
        assert last.end is not None
        assert last.end <= _of(runs, behind)[0].start, "the key goes on when its first job is given up"


def _check_later(workers: Workers, course: Course) -> None:
    """What waits comes back when it said, at its next attempt, and what is behind it has lost none."""
    runs = workers.ledger.runs()
    for job in course.later:
        first, *_, last = _of(runs, job)
        assert (first.attempt, last.attempt) == (0, 1)
        assert first.end is not None
        assert (last.start - first.end) / SECOND - LATER_IN > EARLY, "due when it was before its worker changed"
    assert not {run.job for run in runs if run.attempt} & course.behind


def _crossings(runs: list[Run], jobs: set[str], writers: list[Worker], readers: list[Worker]) -> set[str]:
    """Those of the jobs that failed first on one of the writers, and were done by one of the readers."""
    wrote, read = {worker.pid for worker in writers}, {worker.pid for worker in readers}
    own = {job: _of(runs, job) for job in jobs}
    return {job for job, (first, *_, last) in own.items() if first.process in wrote and last.process in read}


def _attempts(runs: list[Run]) -> list[Run]:
    """The runs as those of their attempts: a retry repeats nothing."""
    return [replace(run, job=f"{run.job}, attempt {run.attempt}") for run in runs]


def _of(runs: list[Run], job: str) -> list[Run]:
    return [run for run in runs if run.job == job]


# -- dead letters


def _check_letters(workers: Workers, course: Course, versions: Versions, old: list[Worker], new: list[Worker]) -> None:
    """Each version lists, shows, purges and sends back what the other has buried, and knows what the other did so."""
    before, this = Dead(workers, versions.before), Dead(workers, versions.this)
    assert before.listed() == this.listed() == course.hopeless.keys()
    runs = workers.ledger.runs()
    by_old = sorted(job for job in course.hopeless if _of(runs, job)[-1].process in {worker.pid for worker in old})
    by_new = sorted(job for job in course.hopeless if _of(runs, job)[-1].process in {worker.pid for worker in new})
    assert min(len(by_old), len(by_new)) >= 2, "both have buried some"
    for job in (by_old[0], by_new[0]):
        assert before.shown(job) == this.shown(job)
    this("purge", "--id", by_old[0])
    before("purge", "--id", by_new[0])
    assert before.listed() == this.listed() == course.hopeless.keys() - {by_old[0], by_new[0]}
    this("redrive", "--id", by_old[1])
    before("redrive", "--id", by_new[1])
    sent = {by_old[1], by_new[1]}
    until(lambda: _buried(workers) == len(course.hopeless) + 2, within=30, what="both have run and were buried again")
    assert before.listed() == this.listed() == course.hopeless.keys() - {by_old[0], by_new[0]}
    assert {job: len(_of(workers.ledger.runs(), job)) for job in sent} == dict.fromkeys(sent, 2)


def _buried(workers: Workers) -> int:
    topic = f"{workers.group.rpartition('.')[0]}.{QUEUE}.dead"
    return count(workers.bootstrap, topic)


class Dead:
    """`faust -A streams dead` of one version."""

    def __init__(self, workers: Workers, version: Version) -> None:
        self._workers = workers
        self._version = version

    def __call__(self, command: str, *arguments: str) -> str:
        """Run a command; returns what it printed."""
        code, printed = self._workers.command(
            "dead", command, QUEUE, *arguments, within=60, environment=self._version.environment
        )
        assert code == 0, printed
        return printed

    def listed(self) -> set[str]:
        """The ids of the letters that are not handled."""
        return {str(json.loads(line)["id"]) for line in self("list", "--json").splitlines()}

    def shown(self, job: str) -> dict[str, object]:
        """What it says of a letter."""
        found: dict[str, object] = json.loads(self("show", "--json", "--id", job))
        return {name: found[name] for name in ("id", "type", "key", "origin", "attempts", "first_failed_at",
                                               "last_failed_at", "error_type", "error_message", "payload")}  # fmt: skip
