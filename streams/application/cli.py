"""Commands of `faust -A streams`: what an operator types."""

from __future__ import annotations

import logging
import sys
from typing import IO, Any, NoReturn

import click
from confluent_kafka import KafkaException
from faust.cli.base import AppCommand, argument, cli, find_app, option
from faust.cli.worker import worker as FaustWorker  # noqa: N812 - a class
from faust.utils.terminal.tables import TableDataT

from producers import JobProducer, ProducersError
from producers.routing.topics import RESERVED_QUEUES
from schemas.codec import Codec
from schemas.errors import PayloadInvalid, SchemasError
from schemas.generator.output import show_anything
from streams.application.delayed_commands import AT_HELP, DELAY_HELP, delayed_group, due_options
from streams.application.faust_app import JobsApp
from streams.dead.cli.commands import dead_group
from streams.errors import SetupError
from streams.kafka.admin.client import Admin
from streams.settings import Settings

#: Seconds to wait for a broker.
_PATIENCE = 3.0

#: A level of loggers that no line reaches.
_SILENT = logging.CRITICAL + 1


#: What Faust's banner tells of parts that are not used here.
_UNUSED = frozenset({"store", "web", "  web", "datadir", "appdir"})


class CannotStart(SetupError, click.ClickException):
    """Says why `streams.app` cannot be made: a program catches it as SetupError, a command shows it and ends.

    Faust's command asks for the application within click, which has such an exception show itself.
    """

    def show(self, file: IO[Any] | None = None) -> None:
        """Print a line for each thing that is wrong, since a traceback would bury them."""
        for line in str(self).splitlines():
            click.echo(f"error: {line}", file=file, err=True)


class worker(FaustWorker):  # noqa: N801 - its name is the command's
    """Start a worker: it runs the jobs of its pool's queues until Ctrl-C or SIGTERM."""

    app: JobsApp

    def as_service(self, *args: Any, **kwargs: Any) -> Any:
        """The application, if it has something to serve."""
        show_anything()
        if self.app.unfit:
            sys.exit(f"error: {self.app.unfit}")
        return super().as_service(*args, **kwargs)

    def _banner_data(self, worker: Any) -> TableDataT:
        """What the banner at the start tells."""
        rows = [row for row in super()._banner_data(worker) if row[0] not in _UNUSED]
        settings = self.app.settings
        if settings.web_port is not None:
            rows.insert(2, ("health", f"http://{settings.web_host}:{settings.web_port}/health"))
        return rows


class enqueue(AppCommand):  # noqa: N801 - its name is the command's
    """Publish one job: enqueue email jobs.email.SendEmail '{"to": ["a@example.org"], ...}'."""

    app: JobsApp

    options = [  # noqa: RUF012 - as Faust declares it
        argument("queue"),
        argument("job_type", metavar="TYPE"),
        argument("payload", metavar="JSON"),
        option("--key", default=None, help="Ordering key: jobs of one key run one after another."),
        option("--id", "job_id", default=None, help="The job's id; a new UUIDv7 by default."),
        option("--delay", default=None, help=DELAY_HELP),
        option("--at", default=None, help=AT_HELP),
    ]

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Publish the job and say where it is; exits with 2 and the reason when it cannot be published."""
        show_anything()
        try:
            click.echo(_publish(self.app, **self.kwargs))
        except (ProducersError, SchemasError, SetupError, _Unusable) as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(2)
        sys.exit(0)


class _Unusable(Exception):
    pass


def _publish(
    app: JobsApp,
    *,
    queue: str,
    job_type: str,
    payload: str,
    key: str | None,
    job_id: str | None,
    delay: str | None,
    at: str | None,
) -> str:
    codec = app.codec
    logging.getLogger("producers").disabled = True  # What it would log is raised, and said once.
    if job_type not in codec.catalog:
        raise _Unusable(
            f"there is no job type {job_type!r}; known ones: {', '.join(codec.catalog)}."
            " STREAMS_JOBS names the modules whose queues and schemas this process knows"
        )
    try:
        job = codec.from_text(job_type, payload)
    except PayloadInvalid:
        raise
    except ValueError as error:
        raise _Unusable(f"the payload is not JSON ({error}); quote it for the shell: '{{\"to\": []}}'") from error
    _check_topic(app.settings, queue)
    with JobProducer(app.settings.producer, codec=codec) as producer:
        handle = producer.publish(job, key=key, queue=queue, id=job_id, **due_options(delay, at))
        place = handle.result()
    return f"{handle.id}  {place.topic} partition {place.partition} offset {place.offset}"


def _check_topic(settings: Settings, queue: str) -> None:
    """Say within seconds, not when delivery has timed out, that there is no broker or no such queue."""
    admin = Admin(settings.cluster)
    try:
        topics = admin.describe_cluster(_PATIENCE).topics
    except KafkaException as error:
        raise _Unusable(admin.no_broker_message(error)) from error
    if settings.topic(queue) not in topics:
        prefix = f"{settings.namespace}."
        queues = sorted(name.removeprefix(prefix) for name in topics if name.startswith(prefix))
        known = ", ".join(name for name in queues if "." not in name and name not in RESERVED_QUEUES) or "none"
        raise _Unusable(
            f"there is no queue {queue!r} in namespace {settings.namespace!r}; its queues: {known}. A queue is"
            " created by a worker that serves it"
        )


def _application(context: click.Context) -> tuple[Settings, Codec]:
    """The settings and the codec of the application that -A names."""
    show_anything()
    name = context.find_root().obj.app
    if not name:
        raise click.UsageError("name the application: faust -A streams dead ...")
    app: Any = find_app(name)
    logging.getLogger("streams.dead").setLevel(_SILENT)  # What it and its modules would log is raised, and said once.
    return app.settings, app.codec


# A group of commands, which Faust's own class for one command cannot be.
cli.add_command(dead_group(_application))
cli.add_command(delayed_group(_application))
