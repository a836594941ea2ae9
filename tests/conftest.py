"""Fixtures that every test may use: a shared broker, a broker of one's own, a topic namespace of one's own."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings

from tests.brokers import Broker, Kind, private_broker, shared_broker
from tests.brokers.base import await_answer
from tests.brokers.common import common_broker

#: The broker that all tests share, while it runs.
_shared: list[Broker] = []


# An example may take as long as a busy machine takes: no test is about its time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """End the run when the shared broker has died: every other test would only wait for it in vain."""
    report = yield
    if report.failed:
        for broker in _shared:
            try:
                await_answer(broker.bootstrap)
            except TimeoutError as silent:
                item.session.shouldstop = f"{silent}; the end of its log:\n{broker.last_words()}"
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker",
        choices=("external", "container", "embedded"),
        help="the kind of Kafka to test on; by default KAFKA_BOOTSTRAP_SERVERS, else a container, else embedded",
    )


@pytest.fixture(scope="session")
def broker_kind(pytestconfig: pytest.Config) -> Kind | None:
    """The kind asked for on the command line."""
    kind: Kind | None = pytestconfig.getoption("--broker")
    return kind


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that all processes of this test run share (pytest-xdist gives each one below it)."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def kafka(broker_kind: Kind | None, run_directory: Path) -> Iterator[str]:
    """The address of a broker that all tests share. Use topics of your own: see namespace."""
    with common_broker(run_directory, lambda: shared_broker(broker_kind)) as broker:
        _shared.append(broker)
        yield broker.bootstrap
        _shared.clear()


@pytest.fixture
def own_broker(broker_kind: Kind | None) -> Iterator[Broker]:
    """A started broker for one test, which may stop, kill, freeze and restart it."""
    with closing(private_broker(None if broker_kind == "external" else broker_kind)) as broker:
        broker.start()
        yield broker


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a measured figure, whether or not the test fails."""

    def print_now(line: str) -> None:
        with capsys.disabled():
            print(f"\n    {line}", end="", flush=True)

    return print_now


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """SIGINT and SIGHUP as a program started by hand finds them: of one in the background a shell has them ignored."""
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGHUP, hang_up)


@pytest.fixture
def namespace() -> str:
    """A prefix for the topics and groups of one test."""
    return f"test-{uuid.uuid4().hex[:12]}"
