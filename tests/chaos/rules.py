"""What the account of a chaos run must not show: pure functions that say what breaks a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from tests.chaos.account import Account, Operation, Published, Span
from tests.chaos.plan import HANDOVER, PROCESS_TIMEOUT, RETRY_HOLD, STOP_TIMEOUT, Letter, numbered
from tests.ledger import SECOND, Run

#: Seconds that an outcome may take to be durable and committed; those in which the machine was busy do not count.
WINDOW = 1.0
#: Seconds that a job may wait for its run although it is its turn, in times of peace: when the last disturbance is over
#: for RECOVERY seconds (a session is 6 s, and whoever is started again takes some more).
STALL, RECOVERY = 15.0, 20.0
_RECOVERY = int(RECOVERY * SECOND)
#: Seconds after which a worker without heartbeats is expelled.
SESSION = 6.0
_SESSION = int(SESSION * SECOND)
#: Nanoseconds that a process of the pool is away for a job that takes too long: the timeout, and another one's start.
_TIMED_OUT = int((PROCESS_TIMEOUT + 2.0) * SECOND)
#: Nanoseconds within which a worker has seen that a topic was made anew, and has another client.
_RENEWAL = 15 * SECOND
#: Nanoseconds in which workers that end one after the other may be why a job was given up for its deaths.
_UNBEGUN = 60 * SECOND
#: A due time is a whole number of milliseconds, and two clocks tell of it.
EARLY = 3_000_000

#: Jobs that were sent back so often are skipped by a redrive.
MAX_REDRIVES = 3

KILLED = "streams.errors.KilledItsWorkers"

Rule = Callable[[Account], list[str]]


def outcomes(account: Account) -> list[str]:
    """Every published job has exactly one final outcome, and it is the one that was planned."""
    return [said for job in account.jobs.values() for said in _outcome(account, job)]


def _outcome(account: Account, job: Published) -> Iterator[str]:
    runs, letters = account.by_job.get(job.id, []), account.dead.get(job.id)
    done = any(run.done for run in runs)
    as_planned = not any(map(account.derailed, runs))
    if not done and letters is None:
        if account.given_up(job) or _taken_away(account, job):
            return
        yield f"{_name(job)} is lost: neither done nor a dead letter; {_told(runs)}"
    elif letters is None:
        if job.plan.dies and as_planned:
            yield f"{_name(job)} is done, and was to fail for good; {_told(runs)}"
    elif letters.errors[0] == KILLED and not job.plan.kills:
        if not _taken_for_a_killer(account, job, runs):
            yield f"{_name(job)} was taken for a job that kills its workers; {_told(runs)}"
    elif done:
        yield f"{_name(job)} is done and a dead letter ({letters.errors[0]}); {_told(runs)}"
    elif not job.plan.dies and as_planned:
        yield f"{_name(job)} is a dead letter ({letters.errors[0]}), and was not to be one; {_told(runs)}"
    elif len(letters.errors) > _most_letters(account, job, runs):
        yield f"{_name(job)} is a dead letter {len(letters.errors)} times; {_told(runs)}"


def _most_letters(account: Account, job: Published, runs: Sequence[Run]) -> int:
    """How many dead letters a job may have: what is on its way when a topic was made anew is written again."""
    last = [run for run in runs if run.attempt == job.plan.last]
    renewals = [Span(each.begin, each.end + _RENEWAL) for each in account.changes]
    ways = [Span(account.failed_at(run), _committed_by(account, run)) for run in last]
    renewed = any(_meet(way, renewal) for way in ways for renewal in renewals)
    return max(1, len(last)) + renewed


def _taken_for_a_killer(account: Account, job: Published, runs: Sequence[Run]) -> bool:
    """Whether two runs of a job were cut off, or could not be committed: then nobody can tell it from one that kills.

    Somebody else's death has put it under suspicion before. A job of the pool is named before a process has it, so it
    may have had no run at either death; and likewise one that does end its worker, once, at the first of the two. Any
    other job may be named twice and not have begun, where its workers end one after the other.
    """
    unseen = len(account.deaths) + len(account.absences) + len(account.outages) >= 2
    if job.plan.in_pool:
        return unseen
    cut = sum(_disturbed(account, run) for run in runs)
    if cut >= 2 or (cut == 1 and unseen and Letter.CRASH_ONCE.value in job.plan.letters):
        return True
    if not runs:
        return _ends_before_its_turn(account, job) >= 3
    return cut == 1 and _ends_around(account, runs[-1]) >= 2


def _ends_before_its_turn(account: Account, job: Published) -> int:
    """How many workers have ended, or stood still, before the next of a key could run, around a job that never did.

    The first of them has put it under suspicion, and it was named at each of the others and not begun.
    """
    following = account.first_of_later(job)
    span = Span(job.at - _UNBEGUN, job.at + _UNBEGUN if following is None else following.start)
    return len(_ends_in(account, span))


def _ends_in(account: Account, span: Span) -> set[int]:
    """The workers that have ended, or stood still, in a span."""
    ends = [*account.deaths.items(), *account.absences]
    return {process for process, each in ends if _meet(each, span)}


def _ends_around(account: Account, last: Run) -> int:
    """How many other workers have ended, or stood still, from the run before the last of a job to the next of its key.

    Between those two, each may have named the job, and not have begun it: before its last run as well as after it.
    """
    before, following = account.last_before(last), account.first_after(last)
    earliest, latest = last.start - _UNBEGUN, last.start + _UNBEGUN
    span = Span(
        earliest if before is None else max(earliest, before.start), latest if following is None else following.start
    )
    return len(_ends_in(account, span) - {last.process})


def _meet(one: Span, other: Span) -> bool:
    """Whether two spans have a moment in common."""
    return one.begin <= other.end and other.begin <= one.end


def _taken_away(account: Account, job: Published) -> bool:
    """Whether a job's record was taken away before the dead letter of its last run could be had."""
    final = account.final(job.id)
    return job.id in account.gone and final is not None and _disturbed(account, final)


def order(account: Account) -> list[str]:
    """No job of a key starts before the one before it is done or given up; so none overlap."""
    known = ([job for job in of_key if not account.given_up(job)] for of_key in account.by_key)
    return [said for of_key in known for pair in pairwise(of_key) for said in _in_order(account, *pair)]


def _in_order(account: Account, earlier: Published, later: Published) -> Iterator[str]:
    runs = account.by_job.get(later.id)
    if not runs:
        return
    over = _over(account, earlier)
    if over is None or over > runs[0].start:
        said = _told(account.by_job.get(earlier.id, []))
        yield f"{_name(later)} starts before {_name(earlier)} is over: {runs[0]}; {said}"


def _over(account: Account, job: Published) -> int | None:
    """When a job was done or given up at the earliest; None if it is neither."""
    final, letters = account.final(job.id), account.dead.get(job.id)
    if final is not None:
        return account.failed_at(final)
    if letters is None:
        return None
    # One that was given up for its deaths has no run that says so: it has its last one, if it has any.
    runs = account.by_job.get(job.id)
    if runs:
        return runs[-1].start
    return job.at if letters.errors[0] == KILLED else None


def attempts(account: Account) -> list[str]:
    """No job runs more often than it may, and no attempt is left out."""
    found = []
    for job, runs in account.by_job.items():
        published = account.jobs.get(job)
        if published is None:
            continue
        if any(run.attempt >= published.plan.limit for run in runs):
            found.append(f"{_name(published)} may be run {published.plan.limit} times; {_told(runs)}")
        if {run.attempt for run in runs} != set(range(max(run.attempt for run in runs) + 1)):
            found.append(f"an attempt of {_name(published)} is missing; {_told(runs)}")
    return found


def due(account: Account) -> list[str]:
    """No attempt starts before its time has come."""
    return [said for job, runs in account.by_job.items() if job in account.jobs for said in _due(account, job, runs)]


def _due(account: Account, job: str, runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        before = [each for each in runs if each.attempt == run.attempt - 1 and account.has_failed(each)]
        ended = min((account.failed_at(each) for each in before), default=None)
        wait = min(map(account.wait, before), default=0.0)
        if ended is not None and run.start < ended + wait * SECOND - EARLY:
            after = (run.start - ended) / 1e6
            yield f"{_name(account.jobs[job])} starts {after:.1f} ms after it has failed: {_told(runs)}"


def repetitions(account: Account) -> list[str]:
    """A job runs again only where it has failed, or a crash explains it."""
    found = []
    for job, runs in account.by_job.items():
        if job not in account.jobs or account.may_lie_twice(account.jobs[job]):
            continue
        strange = [pair for pair in pairwise(runs) if _is_repetition(account, *pair) and not _explained(account, *pair)]
        # An owner that was cut off may have a record on its way which the next one does not see, but the one after it.
        if strange and len(strange) > int(any(_disturbed(account, run) for run in runs)):
            found.append(f"{_name(account.jobs[job])} ran again, and no crash explains it: {_told(runs)}")
    return found


def _is_repetition(account: Account, run: Run, following: Run) -> bool:
    """Whether a run is followed by another that its end does not call for."""
    plan = account.jobs[run.job].plan
    if following.attempt == run.attempt and run.failed and plan.at(run.attempt) is Letter.SNOOZE:
        return False
    return not (account.has_failed(run) and following.attempt == run.attempt + 1)


def _explained(account: Account, run: Run, following: Run) -> bool:
    """Whether the outcome of a run may have been lost with its worker, or with the broker."""
    troubles = _troubles(account, run)
    if _taken_back(run, following):
        troubles += [each for each in _rebalances(account) if each.end >= run.start]
    return any(span.begin <= following.start for span in troubles)


def _taken_back(run: Run, following: Run) -> bool:
    """Whether a job was begun elsewhere although its thread, which nobody can end, was not done with it."""
    return run.end is not None and following.start - run.start >= HANDOVER * SECOND and following.start < run.end


def _disturbed(account: Account, run: Run) -> bool:
    return bool(_troubles(account, run))


def _troubles(account: Account, run: Run) -> list[Span]:
    """What may have cut a run off from its commit."""
    span = Span(run.start, _committed_by(account, run))
    # Whoever could send no heartbeats may be expelled when the broker is back, and then cannot commit.
    away = [*account.outages, *account.cuts.get(run.process, ())]
    mine = [*account.freezes.get(run.process, ()), *account.limits.get(run.process, ())]
    mine += [*(Span(each.begin, each.end + _SESSION) for each in away)]
    unseen = account.unseen.get(run.process, ())
    if run.done:
        # What belongs to the old topic is not committed any more.
        mine += [Span(each.end, each.end) for each in unseen]
    else:
        # A retry or a dead letter that was not taken is not there; whoever has the partition next runs the job again.
        mine += [*account.refusals, *unseen]
    if account.jobs[run.job].plan.in_pool or _outlasts_a_handover(run):
        # One that waits for a process of the pool counts as running. If its partition moves to another worker
        # meanwhile, it is taken back, and may just have begun. And the retry record of a run that takes longer than a
        # rebalance waits may come too late to count.
        mine += _rebalances(account)
    if run.process in account.deaths:
        mine.append(account.deaths[run.process])
    # A stop that has waited long enough cancels what runs, which then runs again elsewhere.
    # And of one that has failed it waits no longer for the broker to acknowledge what was written.
    stop = account.stops.get(run.process)
    if stop is not None and not run.done and (not run.failed or stop.end - stop.begin >= STOP_TIMEOUT * SECOND):
        mine.append(stop)
    return [each for each in mine if each.begin <= span.end and each.end >= span.begin]


def _outlasts_a_handover(run: Run) -> bool:
    """Whether a run that has failed took longer than a rebalance waits. One that is done has nothing to write."""
    return not run.done and run.end is not None and run.end - run.start >= HANDOVER * SECOND


def _rebalances(account: Account) -> list[Span]:
    """When partitions may have moved."""
    ends = [span.end for span in (*account.deaths.values(), *account.stops.values(), *account.changes)]
    ends += [span.end for _, span in account.absences]
    return [Span(at, at + _RECOVERY) for at in (*ends, *account.launches)]


def _committed_by(account: Account, run: Run) -> int:
    """When the outcome of a run was committed at the latest, if nothing happened to its worker."""
    window = int(WINDOW * SECOND)
    # Of a run that could note no end nobody knows when it was over; a timeout ends it.
    since, by = (run.start, run.start + 10 * SECOND) if run.end is None else (run.end, run.end + window)
    if not run.done:
        by += int(RETRY_HOLD * SECOND)
    for each in account.busy:
        by += max(0, min(each.end, by) - max(each.begin, since))
    holdups = [*account.outages, *account.refusals, *account.absent(run.process)]
    holdups += account.limits.get(run.process, ())
    for each in sorted(holdups, key=lambda span: span.begin):
        if each.begin <= by <= each.end + window:
            by = each.end + 2 * window
    return by


def waits(account: Account) -> list[tuple[float, Run]]:
    """How long every job has waited for its first run, and for that of every attempt, although it was its turn.

    Seconds, and only those in times of peace; the longest last.
    """
    found = []
    disturbed = [Span(each.begin, each.end + _RECOVERY) for each in _disturbances(account)]
    trouble = _joined([*disturbed, *account.busy])
    for job in account.jobs.values():
        for run in _firsts(account.by_job.get(job.id, [])):
            turn = _turn(account, job, run)
            if turn is not None and turn < run.start:
                wait = Span(turn, run.start)
                excused = _joined([*trouble, *_taken(account, run)]) if job.plan.in_pool else trouble
                found.append(((run.start - turn - account.within(wait, excused)) / SECOND, run))
    return sorted(found, key=lambda each: each[0])


def _taken(account: Account, run: Run) -> list[Span]:
    """When the one process of a worker's pool was taken by jobs that a timeout ends, and by the start of another."""
    return [Span(each.start, each.start + _TIMED_OUT) for each in account.timed_out_in_pool.get(run.process, ())]


def _disturbances(account: Account) -> list[Span]:
    absences = [span for _, span in account.absences]
    ends = [*account.deaths.values(), *account.stops.values()]
    limits = [span for spans in account.limits.values() for span in spans]
    return [*ends, *absences, *limits, *account.outages, *account.refusals, *account.changes]


def _firsts(runs: Sequence[Run]) -> Iterator[Run]:
    """The first run of every attempt."""
    seen: set[int] = set()
    for run in runs:
        if run.attempt not in seen:
            seen.add(run.attempt)
            yield run


def _turn(account: Account, job: Published, run: Run) -> int | None:
    if run.attempt == 0:
        # Of its key, and not only of what is known to lie before it: some were written that the publisher had given
        # up, and one that was sent back lies behind all that were published.
        before = account.last_before(run) if job.ordered else None
        return job.at if before is None else max(job.at, account.failed_at(before))
    failed = [each for each in account.by_job[job.id] if each.attempt == run.attempt - 1 and account.has_failed(each)]
    if not failed:
        return None
    return account.failed_at(failed[0]) + int(account.wait(failed[0]) * SECOND)


def _joined(spans: Sequence[Span]) -> list[Span]:
    """The same time in spans that do not overlap."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: span.begin):
        if joined and span.begin <= joined[-1].end:
            joined[-1] = Span(joined[-1].begin, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined


def stalls(account: Account) -> list[str]:
    """No job waits for longer than a bound although it is its turn."""
    return [
        f"{_name(account.jobs[run.job])} waited for {wait:.1f} s: {run}" for wait, run in waits(account) if wait > STALL
    ]


def commands(account: Account) -> list[str]:
    """A redrive sends back all that it found, and nothing that was purged before is sent back."""
    return [said for each in account.commands for said in (_purged if each.purge else _sent_back)(account, each)]


def _purged(account: Account, purge: Operation) -> Iterator[str]:
    for letter in purge.letters:
        job = account.jobs.get(_next(letter))
        if job is not None and job.at > purge.span.end + int(WINDOW * SECOND):
            yield f"{_name(job)} was sent back {(job.at - purge.span.end) / SECOND:.1f} s after it was purged"


def _sent_back(account: Account, redrive: Operation) -> Iterator[str]:
    purged = {job for each in account.commands if each.purge for job in each.letters}
    # Whatever was sent, by this one or by one before it, may have been taken away since.
    emptied = [
        each
        for each in (*account.commands, *account.tries)
        if each.queue == redrive.queue
        and each.span.begin <= redrive.span.begin
        and any(at > each.span.begin for at in account.removals.get(each.queue, ()))
    ]
    for letter in redrive.letters - purged:
        if any(letter in each.letters or _within_reach(account, letter, each) for each in emptied):
            continue
        again = _next(letter)
        if again not in account.sent and again not in account.by_job and not again.endswith(f"+{MAX_REDRIVES + 1}"):
            yield f"the dead letter of {letter} was not sent back by the redrive at {redrive.span.begin / SECOND:.2f}"


def _within_reach(account: Account, letter: str, redrive: Operation) -> bool:
    """Whether a letter was written while a redrive looked which there are."""
    return any(
        redrive.span.begin <= account.failed_at(run) <= redrive.span.end for run in account.by_job.get(letter, ())
    )


def _next(letter: str) -> str:
    """The id of a dead letter's job when it is sent back."""
    job, _, redrives = letter.partition("+")
    return numbered(job, int(redrives or 0) + 1)


def stops(account: Account) -> list[str]:
    """A worker that is asked to stop commits what has finished, wherever a broker takes it."""
    return [
        f"worker {process} stopped without its last commit, from {span.begin / SECOND:.2f} to {span.end / SECOND:.2f}"
        for process, span in account.uncommitted.items()
        if not any(each.begin <= span.end and span.begin <= each.end + _SESSION for each in _away(account, process))
    ]


def _away(account: Account, process: int) -> list[Span]:
    """When the brokers were out of a worker's reach."""
    return [*account.outages, *account.absent(process), *account.limits.get(process, ())]


RULES: dict[str, Rule] = {
    "outcomes": outcomes,
    "order": order,
    "attempts": attempts,
    "due": due,
    "repetitions": repetitions,
    "stalls": stalls,
    "commands": commands,
    "stops": stops,
}


def broken(account: Account) -> dict[str, list[str]]:
    """What breaks the rules, by their names."""
    return {name: said for name, rule in RULES.items() if (said := rule(account))}


def summary(account: Account) -> str:
    """The figures of a run that broke no rule, or did."""
    repeated = sum(
        _is_repetition(account, *pair)
        for job, runs in account.by_job.items()
        if job in account.jobs
        for pair in pairwise(runs)
    )
    longest = [wait for wait, _ in waits(account)]
    p99 = longest[int(len(longest) * 0.99)] if longest else 0.0
    return (
        f"{len(account.jobs):,} jobs, {len(account.runs):,} runs, {repeated} of them repetitions,"
        f" {len(account.dead):,} dead letters; {len(account.deaths)} deaths, {sum(map(len, account.freezes.values()))}"
        f" freezes, {sum(map(len, account.cuts.values()))} cuts and {len(account.stops)} stops of workers,"
        f" {sum(map(len, account.limits.values()))} limits, {len(account.outages)} outages and"
        f" {len(account.refusals)} refusals of the broker; {len(account.changes)} changes of topics, after which"
        f" {sum(map(account.given_up, account.jobs.values()))} of {len(account.gone):,} jobs never ended;"
        f" {len(account.commands)} redrives and purges that sent {len(account.sent):,} jobs back;"
        f" waits for a job whose turn it is, in peace: p99 {p99:.3f} s,"
        f" longest {longest[-1] if longest else 0:.1f} s; the machine was busy for"
        f" {sum(each.end - each.begin for each in account.busy) / SECOND:.0f} s"
    )


def _name(job: Published) -> str:
    return f"{job.queue} {job.key}#{job.seq} ({job.id}, plan {job.plan.letters or 's'!r})"


def _told(runs: Sequence[Run]) -> str:
    return "; ".join(map(str, runs)) or "it never ran"
