"""All that is known of a chaos run when it is over: what was published and planned, what ran, what was disturbed.

Times are nanoseconds of CLOCK_MONOTONIC, as in the ledger.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

from tests.chaos.plan import BACKOFF, FACTOR, PROCESS_TIMEOUT, TIMEOUT, Letter, Plan
from tests.ledger import SECOND, Run


@dataclass(frozen=True, slots=True)
class Published:
    """A job that Kafka has. `log` counts the logs that its queue has had, one after another; one that was sent back
    from the dead letters is `redriven`, and a job of its own."""

    id: str
    queue: str
    key: str | None
    seq: int
    plan: Plan
    at: int
    log: int = 0
    partition: int = 0
    offset: int = 0
    redriven: bool = False

    @property
    def ordered(self) -> bool:
        return self.key is not None and self.queue != "chaos-loose"


@dataclass(frozen=True, slots=True)
class Span:
    """From when until when something lasted."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Operation:
    """A redrive, or a purge, that said it was done; and the letters that were there before and that it was to take."""

    purge: bool
    queue: str
    letters: frozenset[str]
    span: Span


@dataclass(frozen=True, slots=True)
class Letters:
    """What lies on the dead-letter topics of one job: the error types, one for each record."""

    errors: tuple[str, ...]


@dataclass(frozen=True)
class Account:
    """One chaos run.

    deaths    of workers that were killed or whose job ended them: from when it may have been until it was seen
    freezes   when a worker stood still
    stops     from when a worker was asked to stop until it had ended
    cuts      when the network of one worker failed
    uncommitted  stops, beside the others, after which a worker said that its last commit was not taken
    outages   when brokers were away, frozen or changing, or the network of all failed
    refusals  when it refused records of ours
    launches  when a worker was started
    changes   when topics were made anew, grown or emptied
    unseen    from when a topic was made anew until a worker saw it
    limits    when a worker got no more threads, descriptors or memory
    commands  what operators did
    tries     redrives that did not come to their end, and may have sent some back
    sent      the jobs that lie in their queues as sent back by operators
    removals  when records of a queue were taken away on purpose
    gone      since when the records of jobs were taken away on purpose, by their ids
    twice     jobs whose records lie in their queues more than once
    failures  when deliveries failed; what was on its way then may lie in its queue twice, also where that is gone
    busy      when the machine had more to do than it can, by what else runs on it too
    """

    jobs: Mapping[str, Published]
    runs: Sequence[Run]
    dead: Mapping[str, Letters]
    deaths: Mapping[int, Span] = field(default_factory=dict)
    freezes: Mapping[int, Sequence[Span]] = field(default_factory=dict)
    cuts: Mapping[int, Sequence[Span]] = field(default_factory=dict)
    stops: Mapping[int, Span] = field(default_factory=dict)
    uncommitted: Mapping[int, Span] = field(default_factory=dict)
    outages: Sequence[Span] = ()
    refusals: Sequence[Span] = ()
    launches: Sequence[int] = ()
    changes: Sequence[Span] = ()
    unseen: Mapping[int, Sequence[Span]] = field(default_factory=dict)
    limits: Mapping[int, Sequence[Span]] = field(default_factory=dict)
    commands: Sequence[Operation] = ()
    tries: Sequence[Operation] = ()
    sent: Set[str] = frozenset()
    removals: Mapping[str, Sequence[int]] = field(default_factory=dict)
    gone: Mapping[str, int] = field(default_factory=dict)
    twice: Set[str] = frozenset()
    failures: Sequence[Span] = ()
    busy: Sequence[Span] = ()

    @cached_property
    def by_job(self) -> dict[str, list[Run]]:
        """The runs of every job, by start."""
        return self._runs_by(lambda run: run.job)

    @cached_property
    def by_key(self) -> list[list[Published]]:
        """The jobs of every key that is ordered, as they lie in one partition of one log."""
        found: dict[tuple[object, ...], list[Published]] = defaultdict(list)
        for job in self.jobs.values():
            if job.ordered:
                found[job.key, job.log, job.partition, job.redriven].append(job)
        return [sorted(of_key, key=lambda job: job.seq) for of_key in found.values()]

    @cached_property
    def _of_keys(self) -> dict[str, list[Run]]:
        return self._runs_by(lambda run: run.key)

    def _runs_by(self, name: Callable[[Run], str]) -> dict[str, list[Run]]:
        found: dict[str, list[Run]] = defaultdict(list)
        for run in sorted(self.runs, key=lambda run: run.start):
            found[name(run)].append(run)
        return found

    def last_before(self, run: Run) -> Run | None:
        """The run of the same key that began last before another did."""
        of_key = self._of_keys[run.key]
        at = bisect_left(of_key, run.start, key=lambda each: each.start)
        return of_key[at - 1] if at else None

    def first_after(self, run: Run) -> Run | None:
        """The first run of another job of the same key that began after a run."""
        of_key = self._of_keys[run.key]
        later = of_key[bisect_right(of_key, run.start, key=lambda each: each.start) :]
        return next((each for each in later if each.job != run.job), None)

    def first_of_later(self, job: Published) -> Run | None:
        """The first run of a job of the same key that was published after another one."""
        of_key = self._of_keys.get(job.key or "", [])
        return next((each for each in of_key if each.seq > job.seq), None)

    @cached_property
    def timed_out_in_pool(self) -> dict[int, list[Run]]:
        """The runs in a process of the pool that were to take too long, by worker."""
        found: dict[int, list[Run]] = defaultdict(list)
        for run in self.runs:
            plan = self.jobs[run.job].plan if run.job in self.jobs else None
            if plan is not None and plan.in_pool and plan.at(run.attempt) is Letter.TIMEOUT:
                found[run.process].append(run)
        return found

    def may_lie_twice(self, job: Published) -> bool:
        """Whether a job was written twice: a client that has given up a delivery sends others again."""
        return job.id in self.twice or (
            job.id in self.gone and any(each.begin <= job.at <= each.end for each in self.failures)
        )

    def given_up(self, job: Published) -> bool:
        """Whether nobody could know of a job any more, since its record was taken away, and so it has no outcome."""
        return job.id in self.gone and job.id not in self.dead and self.final(job.id) is None

    @cached_property
    def absences(self) -> list[tuple[int, Span]]:
        """When workers were frozen or cut off from the brokers, each with its process."""
        return [(process, span) for by in (self.freezes, self.cuts) for process, spans in by.items() for span in spans]

    def absent(self, process: int) -> list[Span]:
        """When one worker was frozen or cut off."""
        return [*self.freezes.get(process, ()), *self.cuts.get(process, ())]

    def has_failed(self, run: Run) -> bool:
        """Whether a run failed so that an attempt was counted, as far as the plan tells."""
        plan = self.jobs[run.job].plan
        if self.derailed(run):
            return True
        if run.done or not plan.counts(run.attempt):
            return False
        # Whom a timeout or a crash of its process has ended could note nothing, or only that it was cancelled.
        return run.failed or self._by_its_time(run, plan)

    def _by_its_time(self, run: Run, plan: Plan) -> bool:
        if plan.at(run.attempt) not in (Letter.TIMEOUT, Letter.CRASH):
            return False
        dead = self.deaths.get(run.process)
        return run.end is not None or dead is None or dead.begin > run.start + 10 * SECOND

    def derailed(self, run: Run) -> bool:
        """Whether a run failed although that was not planned: it took too long, or its worker got nothing any more."""
        if self._starved(run):
            return True
        if run.done or run.failed or run.end is None or self.jobs[run.job].plan.at(run.attempt) is Letter.TIMEOUT:
            return False
        limit = PROCESS_TIMEOUT if self.jobs[run.job].plan.in_pool else TIMEOUT
        return run.end - run.start >= limit * SECOND

    def _starved(self, run: Run) -> bool:
        """Whether a handler may have raised for what its worker was refused."""
        if not run.failed or run.end is None or self.jobs[run.job].plan.at(run.attempt) is not Letter.SUCCEED:
            return False
        return any(each.begin <= run.end and run.start <= each.end for each in self.limits.get(run.process, ()))

    def wait(self, run: Run) -> float:
        """Seconds between a run that has failed and the next attempt."""
        return BACKOFF * FACTOR**run.attempt if self.derailed(run) else self.jobs[run.job].plan.wait(run.attempt)

    def failed_at(self, run: Run) -> int:
        """When a failed run was over, at the earliest."""
        return run.start if run.end is None else run.end

    def final(self, job: str) -> Run | None:
        """The run that has decided about a job: the first that returned or failed for good; None if none did."""
        plan = self.jobs[job].plan
        ended = [run for run in self.by_job.get(job, ()) if run.done or self._for_good(run, plan)]
        return min(ended, key=self.failed_at, default=None)

    def _for_good(self, run: Run, plan: Plan) -> bool:
        return run.attempt == plan.last and (
            self.has_failed(run) or (run.failed and plan.at(run.attempt) is Letter.PERMANENT)
        )

    def within(self, span: Span, spans: Iterable[Span]) -> int:
        """How much of a span, in nanoseconds, lies within others that do not overlap."""
        return sum(max(0, min(span.end, each.end) - max(span.begin, each.begin)) for each in spans)
