"""What the README tells a new user to type, typed as it stands there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.readme import FILES, command
from tests.waiting import until
from tests.workers import ROOT

SECONDS = 60.0

Environment = Mapping[str, str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A new user's directory: the virtual environment in it, and the README's files."""
    (tmp_path / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def shell() -> Environment:
    """The environment of a new user's shell, without settings of ours."""
    ours = ("STREAMS_", "KAFKA_", "SCHEMA_REGISTRY_", "PYTHONPATH")
    foreign = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # The project is importable as from its own directory; what the user writes must be found without help.
    return foreign | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def with_broker(shell: Environment, kafka: str, namespace: str) -> Environment:
    """That shell, where a broker runs, with topics of this test's own."""
    return {**shell, "KAFKA_BOOTSTRAP_SERVERS": kafka, "STREAMS_NAMESPACE": namespace}


def _run(line: str, home: Path, environment: Environment) -> str:
    """Run a command line to its end; returns what it prints. Raises AssertionError when it fails."""
    ended = subprocess.run(
        ["bash", "-c", line], cwd=home, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ended.returncode == 0, f"$ {line}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


@contextmanager
def _running(line: str, home: Path, environment: Environment) -> Iterator[Path]:
    """Run a worker's command line meanwhile, then stop it as Ctrl-C does; gives the file with its output."""
    log = home / "worker.log"
    with log.open("wb") as output:
        # `exec` leaves no shell between the worker and its signals; `env` takes the variables before the command.
        worker = subprocess.Popen(
            ["bash", "-c", f"exec env {line}"], cwd=home, env=environment, stdout=output, stderr=output
        )
    try:
        yield log
        worker.send_signal(signal.SIGINT)
        assert worker.wait(SECONDS) == 0, log.read_text()
    finally:
        worker.kill()
        worker.wait()
        print(log.read_text())


def _await(log: Path, *texts: str) -> str:
    """Return the log as soon as all these texts are in it."""
    until(lambda: all(text in log.read_text() for text in texts), within=SECONDS, what=f"{texts} logged")
    return log.read_text()


def test_a_job_module_of_ones_own(home: Path, with_broker: Environment, namespace: str) -> None:
    with _running(command("STREAMS_JOBS=newsletter"), home, with_broker) as log:
        _await(log, "[^Worker]: Ready")
        printed = _run(".venv/bin/python publish.py", home, with_broker).splitlines()
        enqueued = _run(command(".venv/bin/faust -A streams enqueue"), home, with_broker).split()[0]
        subjects = ["Issue 1", "Issue 2", "Issue 3", "Hi"]
        output = _await(log, *(f"{subject} for ['ada@example.org']" for subject in subjects))
    *published, position = printed
    handled = re.findall(r"\[newsletter (\S+)\] (.+) for \['ada@example\.org'\]", output)
    assert handled == list(zip([*published, enqueued], subjects, strict=True)), "in order, under their ids"
    assert re.fullmatch(rf"Position\(topic='{namespace}\.newsletter', partition=\d+, offset=2\)", position)


def test_models_of_ones_own(home: Path, shell: Environment) -> None:
    schema = home / "shop/schemas/orders/PlaceOrder.v1.avsc"
    schema.parent.mkdir(parents=True)
    schema.write_text(
        '{"type": "record", "name": "PlaceOrder", "namespace": "shop.orders",'
        ' "fields": [{"name": "sku", "type": "string"}, {"name": "count", "type": "int", "default": 1}]}'
    )
    _run(command(".venv/bin/python -m schemas.generate"), home, shell)
    (home / "use.py").write_text(
        textwrap.dedent(
            """
            import dataclasses
            from producers import JobProducer
            from shop.models.orders import PlaceOrder
            from streams import Queue

            @Queue("orders").job(PlaceOrder)
            def place(job, ctx): ...

            order = PlaceOrder(sku="tea")
            print(dataclasses.is_dataclass(PlaceOrder), order.count)
            try:
                order.count = 2
            except dataclasses.FrozenInstanceError:
                print("frozen")
            """
        )
    )
    assert _run(".venv/bin/python use.py", home, shell).split() == ["True", "1", "frozen"]

    schema.with_name("PlaceOrder.v2.avsc").write_text(
        schema.read_text().replace("]", ', {"name": "by", "type": "string"}]')
    )
    with pytest.raises(AssertionError, match="v2 cannot read v1"):
        _run(command(".venv/bin/python -m schemas.generate"), home, shell)
