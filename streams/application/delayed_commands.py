"""`faust -A streams delayed list|show|cancel|reschedule|run-now`: what an operator types about delayed jobs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import Any

import click

from producers import DelayedJobs, OptionInvalid, ProducersError, WaitingJob
from producers.delayed.due import delay_ms, moment_ms
from schemas.codec import Codec
from schemas.headers import rfc3339
from streams.logs.safe_text import plain
from streams.settings import Settings

#: Gives the settings and the codec of the application that the command line names.
Application = Callable[[click.Context], tuple[Settings, Codec]]

_FAILED = 2
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_ISO = "a time in ISO 8601 with its zone, such as 2027-03-01T09:00+01:00 or 2027-03-01T08:00Z"

#: When a job falls due, as `enqueue` and `reschedule` take it.
DELAY_HELP = "How long it waits, up to ten years: seconds, or 500ms, 90s, 15m, 2h, 3d."
AT_HELP = "When it falls due: a time in ISO 8601 with its zone."


def delayed_group(application: Application) -> click.Group:
    """The command `delayed`, with its subcommands."""
    group = click.Group("delayed", help="Delayed jobs: list and show them, cancel them, give them another time.")
    as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")

    @group.command("list", help="List the jobs that wait, the next first.")
    @click.option("--queue", help="Of this queue alone.")
    @click.option("--before", help="Due before a time in ISO 8601 with its zone.")
    @click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
    @as_json
    @click.pass_context
    def list_jobs(
        context: click.Context, /, queue: str | None, before: str | None, limit: int | None, as_json: bool
    ) -> None:
        with _delayed(application, context) as delayed:
            found = delayed.list(queue=queue, before=None if before is None else parse_moment("--before", before))
            _print(found[:limit], as_json)
            left = len(found) - len(found[:limit])
            if left or not found:
                of_queue = "" if queue is None else f" of queue {plain(queue)}"
                click.echo(f"{left} more wait" if left else f"no delayed job{of_queue} waits", err=True)

    @group.command("show", help="Show the delayed job of an ID.")
    @click.argument("job_id", metavar="ID")
    @as_json
    @click.pass_context
    def show(context: click.Context, /, job_id: str, as_json: bool) -> None:
        with _delayed(application, context) as delayed:
            _print([delayed.find(job_id)], as_json)

    @group.command("cancel", help="Have the delayed job of an ID not run.")
    @click.argument("job_id", metavar="ID")
    @click.pass_context
    def cancel(context: click.Context, /, job_id: str) -> None:
        with _delayed(application, context) as delayed:
            click.echo(f"cancelled {plain(delayed.cancel(job_id).id)}")

    @group.command("run-now", help="Have the delayed job of an ID fall due at once.")
    @click.argument("job_id", metavar="ID")
    @click.pass_context
    def run_now(context: click.Context, /, job_id: str) -> None:
        with _delayed(application, context) as delayed:
            click.echo(f"{plain(delayed.run_now(job_id).id)} falls due now")

    @group.command("reschedule", help="Have the delayed job of an ID fall due at another time.")
    @click.argument("job_id", metavar="ID")
    @click.option("--delay", help=DELAY_HELP)
    @click.option("--at", help=AT_HELP)
    @click.pass_context
    def reschedule(context: click.Context, /, job_id: str, delay: str | None, at: str | None) -> None:
        if delay is None and at is None:
            raise click.UsageError("say when: --delay 2h, or --at 2027-03-01T09:00+01:00")
        with _delayed(application, context) as delayed:
            job = delayed.reschedule(job_id, **due_options(delay, at))
            click.echo(f"{plain(job.id)} falls due at {_moment(job)}")

    return group


def due_options(delay: str | None, at: str | None) -> dict[str, Any]:
    """The options of a publish by what was typed; raises OptionInvalid, which names what is to be typed."""
    if delay is not None and at is not None:
        raise OptionInvalid("--delay", "either --delay or --at", f"{delay}, and --at {at}")
    if delay is not None:
        wait = parse_delay(delay)
        delay_ms("--delay", wait)
        return {"delay": wait}
    if at is not None:
        moment = parse_moment("--at", at)
        moment_ms("--at", moment, time_ns() // 1_000_000)
        return {"run_at": moment}
    return {}


def parse_delay(text: str) -> timedelta:
    """A delay as it is typed; raises OptionInvalid."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", text)
    if found is None or len(text) > _LONGEST:
        raise OptionInvalid("--delay", "seconds, or a number with ms, s, m, h or d, such as 90s, 15m, 2h, 3d", text)
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[found[2] or "s"])
    except OverflowError:
        raise OptionInvalid("--delay", "ten years at the most", text) from None


def parse_moment(option: str, text: str) -> datetime:
    """A time as it is typed; raises OptionInvalid for one without a zone, too."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise OptionInvalid(option, _ISO, text) from None
    if found.utcoffset() is None:
        raise OptionInvalid(option, _ISO, text)
    return found


@contextmanager
def _delayed(application: Application, context: click.Context) -> Iterator[DelayedJobs]:
    """Delayed jobs of the application's namespace; exits with 2 and the reason where something cannot be done."""
    settings, _ = application(context)
    try:
        yield DelayedJobs(settings.producer)
    except ProducersError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(_FAILED)


def _print(jobs: Any, as_json: bool) -> None:
    for job in jobs:
        click.echo(_as_json(job) if as_json else _as_line(job))


def _as_line(job: WaitingJob) -> str:
    key = "" if job.key is None else f"  key {plain(job.key)}"
    return f"{_moment(job)}  {job.queue}  {plain(job.type or '-')}  {plain(job.id)}{key}"


def _as_json(job: WaitingJob) -> str:
    return json.dumps({"due": _moment(job), **job._asdict()})


def _moment(job: WaitingJob) -> str:
    # Beyond what a date can say: a record that any client may have written.
    return rfc3339(job.due_ms).decode() if job.due_ms < _LAST_MS else f"{job.due_ms} ms"


_LAST_MS = round(datetime.max.replace(tzinfo=UTC).timestamp() * 1000)
_LONGEST = 32
