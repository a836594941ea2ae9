"""`faust -A streams dead list|show|redrive|purge`: what an operator types about dead letters."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NoReturn, TypeVar

import click

from schemas.codec import Codec
from streams.dead.cli import text as screen
from streams.dead.dead_letters import MAX_REDRIVES, DeadLetters
from streams.dead.errors import DeadError
from streams.dead.filters import Filters, parse_time
from streams.dead.redrive.plan import Plan
from streams.errors import SetupError
from streams.logs.safe_text import plain
from streams.settings import Settings

#: Gives the settings and the codec of the application that the command line names.
Application = Callable[[click.Context], tuple[Settings, Codec]]

Options = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])

#: Exit codes: nothing that was meant could be handled; the command could not do its work.
_NOTHING = 1
_FAILED = 2

#: Letters that a dry run names.
_NAMED = 20

_FILTERS = (
    click.option("--type", "type", help="Job type, such as jobs.email.SendEmail."),
    click.option("--key", help="Ordering key, as it is shown."),
    click.option("--error", help="Part of the error's type or message, in upper or lower case."),
    click.option(
        "--since",
        help="Failed last at this time or after: ISO 8601, in UTC unless it says otherwise, or how long ago: 2h, 3d.",
    ),
    click.option("--until", help="Failed last before this time."),
    click.option("--id", "id", help="The job's id."),
    click.option("--partition", type=click.IntRange(min=0), help="Partition of the dead-letter topic."),
    click.option("--offset", type=click.IntRange(min=0), help="Offset in that partition: one letter."),
    click.option("--limit", type=click.IntRange(min=1), help="At most so many letters."),
)
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
_YES = click.option("--yes", is_flag=True, help="Do not ask before dealing with several letters.")
_ALL = click.option("--all", "everything", is_flag=True, help="Letters that are handled, too.")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def dead_group(application: Application) -> click.Group:
    """The command `dead`, with its subcommands."""
    group = click.Group(
        "dead", help="Dead letters of a queue: list them, show them, send them back, be done with them."
    )

    def add(name: str, run: Callable[[DeadLetters, Options], None], *options: Callable[[F], F]) -> None:
        changes = _YES in options

        @click.pass_context
        def command(context: click.Context, /, queue: str, **given: Any) -> None:
            settings, codec = application(context)
            with _sentences(), DeadLetters(settings, queue, codec) as letters, _turn(letters, given, changes=changes):
                run(letters, given)

        declared: Any = command
        for option in (*reversed(options), *reversed(_FILTERS), click.argument("queue")):
            declared = option(declared)
        group.add_command(click.command(name, help=run.__doc__)(declared))

    add("list", list_letters, _ALL, _JSON)
    add("show", show, _ALL, _JSON)
    add("redrive", redrive, *_REDRIVE)
    add("purge", purge, _DRY_RUN, _YES)
    return group


def _turn(letters: DeadLetters, given: Options, *, changes: bool) -> AbstractContextManager[None]:
    """One at a time, where a command changes something."""
    return letters.alone() if changes and not given["dry_run"] else nullcontext()


def list_letters(letters: DeadLetters, given: Options) -> None:
    """List the dead letters of QUEUE that are not handled, one a line."""
    filters = _filters(given)
    everything: bool = given["everything"]
    found = letters.find(filters, handled=everything, limit=given["limit"])
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    text: Iterator[str]
    if given["as_json"]:
        text = (screen.as_line(screen.as_object(letter)) for letter in found)
    else:
        text = screen.lines(found, width=width, marked=everything)
    if not _print(text):
        click.echo(_nothing(letters, filters, everything=everything), err=True)


def show(letters: DeadLetters, given: Options) -> None:
    """Show dead letters of QUEUE whole: payload, error, stack, times, headers. One that is named by its job's --id, or
    by --partition and --offset, is shown also if it is handled."""
    filters = _filters(given)
    everything = given["everything"] or filters.single
    shown = 0
    for shown, letter in enumerate(letters.find(filters, handled=everything, limit=given["limit"]), start=1):
        payload = letters.payload(letter)
        if given["as_json"]:
            click.echo(screen.as_line(screen.as_object(letter, payload)))
        else:
            click.echo(("\n" if shown > 1 else "") + "\n".join(screen.whole(letter, payload)))
    if not shown:
        _stop(_nothing(letters, filters, everything=everything))


_REDRIVE = (
    click.option("--rate", type=click.FloatRange(min=0.001), help="At most so many jobs a second."),
    click.option(
        "--max-redrives", type=click.IntRange(min=1), default=MAX_REDRIVES, show_default=True,
        help="Skip jobs that were redriven so often already.",
    ),
    click.option("--expired", is_flag=True, help="Send expired jobs, too, without their expiry."),
    _DRY_RUN,
    _YES,
)  # fmt: skip


def redrive(letters: DeadLetters, given: Options) -> None:
    """Send dead letters back to QUEUE: those of each key in publication order, under their ids, at attempt 0.

    Without filters all that are not handled. Killed half-way, start it again: at most the last chunk, 500 letters or
    a second's worth of --rate, is sent once more. While it is at work, another redrive or purge of QUEUE says who is,
    and does nothing.
    """
    filters = _filters(given)
    plan = letters.plan_redrive(
        filters, limit=given["limit"], max_redrives=given["max_redrives"], expired=given["expired"]
    )
    _tell_skipped(plan)
    if not plan.count:
        _stop(_nothing(letters, filters) if not plan.skipped else "nothing to redrive")
    _warn_of_forgetting(letters)
    if given["dry_run"]:
        _tell(letters, plan, f"would go back to {letters.topics.queue}")
        return
    _confirm(plan, f"Send {_count(plan.count)} back to {letters.topics.queue}?", yes=given["yes"])
    sent = _run(letters, plan, given["rate"])
    click.echo(f"{_count(sent)} sent back to {letters.topics.queue}")
    if sent < plan.count:
        sys.exit(_NOTHING)


def _run(letters: DeadLetters, plan: Plan, rate: float | None) -> int:
    sent = 0
    try:
        for step in letters.redrive(plan, rate=rate):
            sent += step.sent
            for each in step.refused:
                click.echo(f"not sent: {_named(each.place, each.id)}: {each.reason}", err=True)
            if step.gone:
                click.echo(f"{_count(step.gone)} had left the log by then (retention)", err=True)
            if sent < plan.count:
                click.echo(f"{sent:,} of {plan.count:,} sent", err=True)
    except (DeadError, KeyboardInterrupt):
        click.echo(f"{_count(sent)} sent, and noted, in the chunks before the last", err=True)
        raise
    return sent


def purge(letters: DeadLetters, given: Options) -> None:
    """Be done with dead letters of QUEUE without running them: they are marked, and no longer listed.

    Where everything before an offset is handled, purged or redriven, Kafka deletes those records, and their disk
    space is free. The others stay until then, or until their retention ends.
    """
    filters = _filters(given)
    plan = letters.plan_purge(filters, limit=given["limit"])
    if not plan.parts:
        _stop(_nothing(letters, filters))
    _warn_of_forgetting(letters)
    if given["dry_run"]:
        _tell(letters, plan, "would be purged")
        return
    _confirm(plan, f"Purge {_count(plan.count)} of {letters.queue}? They will not run.", yes=given["yes"])
    done = letters.purge(plan)
    deleted = f"Kafka has deleted {done.deleted:,} records, all of them handled"
    waiting = "Kafka deletes their records when those before them are handled, too"
    click.echo(f"{_count(done.marked)} purged; {deleted if done.deleted or done.kept else waiting}")
    for reason in done.kept:
        click.echo(f"records stay until their retention ends: {reason}", err=True)


def _filters(given: Options) -> Filters:
    now = int(time.time() * 1000)
    times = {name: parse_time(given[name], now) for name in ("since", "until") if given[name] is not None}
    return Filters(**{name: given[name] for name in ("type", "key", "error", "id", "partition", "offset")} | times)


def _print(text: Iterator[str]) -> bool:
    printed = False
    for line in text:
        printed = True
        click.echo(line)
    return printed


def _nothing(letters: DeadLetters, filters: Filters, *, everything: bool = False) -> str:
    """Why there is nothing to do."""
    among = "that match" if filters.any else "at all"
    if everything:
        return f"there are no dead letters {among} in queue {letters.queue!r}"
    handled = sum(1 for _ in letters.find(filters, handled=True))
    if handled:
        whose = " that match" if filters.any else ""
        return (
            f"nothing is left in queue {letters.queue!r}: {_count(handled)}{whose}, redriven or purged (see list --all)"
        )
    return f"there are no dead letters {among} in queue {letters.queue!r}"


def _tell_skipped(plan: Plan) -> None:
    for reason, count in plan.reasons.items():
        named = [_named(each.place, each.id) for each in plan.skipped if each.reason == reason]
        more = f" and {count - 5:,} more" if count > 5 else ""
        click.echo(f"skipped, {reason}: {', '.join(named[:5])}{more}", err=True)


def _named(place: Any, job_id: str) -> str:
    return f"{plain(job_id)} ({place.partition}/{place.offset})"


def _tell(letters: DeadLetters, plan: Plan, what: str) -> None:
    """Say what a dry run has found, the first letters by name."""
    click.echo(f"{_count(plan.count)} {what}:")
    left = _NAMED
    for part in plan.parts:
        for offset in part.offsets[:left]:
            for letter in letters.find(Filters(partition=part.partition, offset=offset)):
                click.echo(f"  {_named(letter.place, letter.id)}")
        left = max(0, left - len(part.offsets))
    if plan.count > _NAMED:
        click.echo(f"  and {plan.count - _NAMED:,} more")


def _confirm(plan: Plan, question: str, *, yes: bool) -> None:
    if plan.count == 1 or yes:
        return
    if not sys.stdin.isatty():
        raise DeadError(f"{question} There is no terminal to ask on: look with --dry-run, then say --yes")
    if not click.confirm(question, err=True):
        _stop("nothing was done")


def _warn_of_forgetting(letters: DeadLetters) -> None:
    times = letters.forgets_after()
    if times is not None:
        kept = "for ever" if times[1] < 0 else f"{times[1]:g} days"
        click.echo(
            f"note: these brokers forget what is handled {times[0]:g} days after the last redrive or purge of a"
            f" partition, and keep letters {kept}: what was handled is then listed as if it were not, and"
            " their redrives are no longer counted. Raise the brokers' offsets.retention.minutes, or purge before",
            err=True,
        )


def _count(number: int) -> str:
    return f"{number:,} dead letter{'' if number == 1 else 's'}"


@contextmanager
def _sentences() -> Iterator[None]:
    """End with a sentence, not a traceback."""
    try:
        yield
    except (DeadError, SetupError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(_FAILED)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)


def _stop(why: str) -> NoReturn:
    click.echo(why, err=True)
    sys.exit(_NOTHING)
