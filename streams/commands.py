"""Commands of `faust -A streams`: what an operator types."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, NoReturn

import click
from faust.cli.base import AppCommand, argument, option

from producers import JobProducer, ProducersError, ProducerSettings
from schemas.errors import SchemasError
from streams.application import JobsApp


class enqueue(AppCommand):  # noqa: N801 - its name is the command's
    """Publish one job: enqueue email jobs.email.SendEmail '{"to": ["a@example.org"], ...}'."""

    app: JobsApp

    options = [  # noqa: RUF012 - as Faust declares it
        argument("queue"),
        argument("job_type", metavar="TYPE"),
        argument("payload", metavar="JSON"),
        option("--key", default=None, help="Ordering key: jobs of one key run one after another."),
        option("--id", "job_id", default=None, help="The job's id; a new UUIDv7 by default."),
    ]

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Publish the job and say where it is; exits with 2 and the reason when it cannot be published."""
        try:
            click.echo(_publish(self.app, **self.kwargs))
        except (ProducersError, SchemasError, _NotJson) as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)
        sys.exit(0)


class _NotJson(ValueError):
    pass


def _publish(app: JobsApp, *, queue: str, job_type: str, payload: str, key: str | None, job_id: str | None) -> str:
    codec = app.engine.codec
    logging.getLogger("producers").disabled = True  # What it would log is raised, and said once.
    try:
        fields = json.loads(payload)
    except ValueError as error:
        raise _NotJson(f"the payload is not JSON ({error}); quote it for the shell: '{{\"to\": []}}'") from error
    with JobProducer(ProducerSettings(), codec=codec) as producer:
        handle = producer.publish(codec.from_json(job_type, fields), key=key, queue=queue, id=job_id)
        place = handle.result()
    return f"{handle.id}  {place.topic} partition {place.partition} offset {place.offset}"
