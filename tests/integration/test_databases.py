"""Handlers that use a database through Django and SQLAlchemy: as many connections as jobs may run, and good ones."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.integration.conftest import Fleet
from tests.postgres import postgres
from tests.publishing import Steps
from tests.waiting import until

CONCURRENCY = 4
JOBS = 400
QUEUES = ("with-django", "with-sqlalchemy", "with-asyncio")

TABLES = """
CREATE TABLE customers (id bigserial PRIMARY KEY, name text NOT NULL);
INSERT INTO customers (name) VALUES ('Ada');
CREATE TABLE runs (queue text, job text, pid int, connections int);
"""


@pytest.fixture
def server() -> Iterator[str]:
    with postgres() as server:
        yield server


def test_connections_are_few_and_hooks_look_after_them(fleet: Fleet, kafka: str, namespace: str, server: str) -> None:
    with psycopg.connect(server, autocommit=True) as database:
        database.execute(TABLES)
        workers = fleet("tests.jobs.databases", environment={"TESTS_POSTGRES": server})
        (worker,) = workers.start()
        with Steps(kafka, namespace) as steps:
            for number in range(JOBS):
                if number == JOBS // 2:
                    workers.await_done(steps.ids, within=120)
                    break_connections(database)
                for queue in QUEUES:
                    steps.publish(f"{queue}-{number}", 0, queue=queue)
        workers.await_done(steps.ids, within=120)
        until(lambda: runs(database) == dict.fromkeys(QUEUES, JOBS), within=30, what=lambda: f"all: {runs(database)}")
        most = database.execute("SELECT queue, max(connections) FROM runs GROUP BY queue").fetchall()
        assert {queue for queue, connections in most if connections > CONCURRENCY} == set(), most
        until(lambda: not held(database), within=30, what=lambda: f"nothing is held: {held(database)}")
        assert worker.count("retry with-") == 0, "no job met a connection that was broken before it began"
        workers.stop()


def break_connections(database: psycopg.Connection) -> None:
    """What a restart of the server does to the connections of Django, which all idle."""
    broken = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'with-django'"
    assert database.execute(broken).fetchall()


def runs(database: psycopg.Connection) -> dict[str, int]:
    """How many runs of each queue have been committed."""
    return dict(database.execute("SELECT queue, count(*) FROM runs GROUP BY queue").fetchall())


def held(database: psycopg.Connection) -> list[tuple[str, str]]:
    """Transactions that nobody has ended, although no job runs."""
    return database.execute(
        "SELECT application_name, state FROM pg_stat_activity WHERE application_name LIKE 'with-%' AND state <> 'idle'"
    ).fetchall()
