"""Queues whose jobs use a database, each by another library, with the hook that belongs to it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import django
from django.conf import settings
from django.db import close_old_connections, connection, models
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import scoped_session, sessionmaker

from streams import JobContext, Queue
from tests.ledger import noted
from tests.models.ordered import Step

CONCURRENCY = 4
#: Where the server is, in libpq's words.
SERVER = "TESTS_POSTGRES"

_where = conninfo_to_dict(os.environ[SERVER])

#: Notes who runs, on which connection, and how many connections his queue has.
NOTE = (
    "INSERT INTO runs (queue, job, pid, connections) SELECT {0}, {1}, pg_backend_pid(), count(*)"
    " FROM pg_stat_activity WHERE application_name = {0}"
)


# -- Django -----------------------------------------------------------------------------------------------------------

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": _where["host"],
            "USER": _where["user"],
            "NAME": _where["dbname"],
            "OPTIONS": {"application_name": "with-django"},
            # A thread's connection serves its next run, if it is still good: the hook has that looked at.
            "CONN_MAX_AGE": 600,
            "CONN_HEALTH_CHECKS": True,
        }
    }
)
django.setup()


class Customer(models.Model):  # type: ignore[misc] # Django has no types
    """A row that every job reads by Django's own means."""

    name = models.TextField()

    class Meta:
        app_label = "tests"
        db_table = "customers"


@contextmanager
def old_connections_closed(job: Any, ctx: JobContext) -> Iterator[None]:
    """What Django does around a request."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


with_django = Queue("with-django", partitions=4, concurrency=CONCURRENCY, around=old_connections_closed)


@with_django.job(Step)
def by_django(job: Step, ctx: JobContext) -> None:
    """Read through the ORM, and note the run."""
    with noted(ctx.id, ctx.key, job.seq, ctx.attempt):
        assert Customer.objects.get(name="Ada").pk
        with connection.cursor() as cursor:
            cursor.execute(NOTE.format("%s", "%s"), ["with-django", ctx.id, "with-django"])


# -- SQLAlchemy -------------------------------------------------------------------------------------------------------


def _url(queue: str) -> URL:
    return URL.create(
        "postgresql+psycopg",
        username=str(_where["user"]),
        database=str(_where["dbname"]),
        query={"host": str(_where["host"]), "application_name": queue},
    )


_engine: Engine = create_engine(_url("with-sqlalchemy"), pool_size=100)
Session = scoped_session(sessionmaker(_engine))


@contextmanager
def session_removed(job: Any, ctx: JobContext) -> Iterator[None]:
    """A session for the run's thread, committed if all went well."""
    try:
        with Session.begin():
            yield
    finally:
        Session.remove()


with_sqlalchemy = Queue("with-sqlalchemy", partitions=4, concurrency=CONCURRENCY, around=session_removed)


@with_sqlalchemy.job(Step)
def by_sqlalchemy(job: Step, ctx: JobContext) -> None:
    """Note the run in the thread's session."""
    with noted(ctx.id, ctx.key, job.seq, ctx.attempt):
        Session.execute(text(NOTE.format(":queue", ":job")), {"queue": "with-sqlalchemy", "job": ctx.id})


# -- SQLAlchemy's asyncio ---------------------------------------------------------------------------------------------

_async_engine = create_async_engine(_url("with-asyncio"), pool_size=100)
_sessions = async_sessionmaker(_async_engine)
current: ContextVar[AsyncSession] = ContextVar("current")


@asynccontextmanager
async def in_session(job: Any, ctx: JobContext) -> AsyncIterator[None]:
    """A session for the run, where the handler and all that it calls find it."""
    async with _sessions.begin() as session:
        current.set(session)
        yield


with_asyncio = Queue("with-asyncio", partitions=4, concurrency=CONCURRENCY, around=in_session)


@with_asyncio.job(Step)
async def by_asyncio(job: Step, ctx: JobContext) -> None:
    """Note the run in the session that the hook has made."""
    with noted(ctx.id, ctx.key, job.seq, ctx.attempt):
        await current.get().execute(text(NOTE.format(":queue", ":job")), {"queue": "with-asyncio", "job": ctx.id})
