"""What keeps a worker from starting: it says so, says the remedy, and ends with an error."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from producers import JobProducer, ProducerSettings
from tests.brokers.embedded import free_port
from tests.integration.conftest import Fleet
from tests.models.ordered import Step
from tests.proxy import ending_the_first
from tests.variables import OF_FAUST
from tests.waiting import until
from tests.workers import ROOT, Workers

#: Job modules that cannot be imported, and what Python says of each.
BROKEN = {
    "not_python": ("def broken(:\n", "SyntaxError"),
    "missing_name": ("from streams import Nothing\n", "ImportError: cannot import name 'Nothing'"),
    "missing_package": ("import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package'"),
    "bad_definition": ("from streams import Queue\nQueue('a b')\n", "deep.py\", line 2: 'a b' cannot name a queue"),
}


def _refusal(fleet: Fleet, jobs: str) -> str:
    """What a worker that cannot start says before it ends with an error."""
    worker = fleet(jobs).launch()
    assert worker.wait(within=30) != 0, worker.output
    return worker.output


def test_what_a_start_and_a_stop_tell(fleet: Fleet, namespace: str) -> None:
    """The group, the partitions and the worker's own steps, and nothing of parts that are not used."""
    workers = fleet("tests.jobs.ordered")
    (worker,) = workers.start()
    with JobProducer(ProducerSettings(bootstrap_servers=workers.bootstrap, namespace=namespace)) as producer:
        producer.publish(Step(seq=0, seconds=0.0), expires_in=0.001)
    until(lambda: worker.count("JobExpired"), within=30, what=worker.tail)
    worker.stop()
    output = worker.output
    for told in (f"id          | {namespace}.default", "Starting...", "Joined group", f"{namespace}.ordered | {{0-11}}",
                 "Ready", "Signal received", "Stopping...", "stopped: what has finished is committed"):  # fmt: skip
        assert told in output
    for untold in ("| web", "6066", "store", "datadir", "[^-", "Discovered coordinator", "Subscribed", "rdkafka"):
        assert untold not in output
    assert len(output.splitlines()) < 40


def test_the_banner_tells_where_the_health_check_is(fleet: Fleet) -> None:
    """No variable of another program moves it or hinders the start, nor does an output that is not UTF-8."""
    port = free_port()
    hostile = dict.fromkeys(OF_FAUST, "tcp://10.0.0.1:80") | {"WEB_PORT": "1", "APP_WEB_ENABLED": "false"}
    (worker,) = fleet("tests.jobs.ordered", web_port=port, environment=hostile | {"PYTHONIOENCODING": "ascii"}).start()
    assert f"| http://127.0.0.1:{port}/health" in worker.output
    with urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
        assert answer.status == 200
    # A probe of another path would find the worker well whatever /health says.
    for path in ("/", "/health/", "/router/", "/table/", "/graph", "/metrics", "/static/", "/stats/"):
        with pytest.raises(HTTPError, match="404") as refused:
            urlopen(f"http://127.0.0.1:{port}{path}", timeout=10)
        refused.value.close()


def test_a_broker_that_goes_away_as_the_worker_starts(fleet: Fleet, kafka: str, namespace: str) -> None:
    """It has made its topics by then, and waits as it does for one that is not there yet."""
    with ending_the_first(3, kafka, client=b"streams-worker") as proxy:
        workers = fleet("tests.jobs.ordered", environment={"KAFKA_BOOTSTRAP_SERVERS": proxy.address})
        (worker,) = workers.start()
        with JobProducer(ProducerSettings(bootstrap_servers=kafka, namespace=namespace)) as producer:
            job = producer.publish(Step(seq=0, seconds=0.0)).id
        workers.await_done({job}, within=30)
        workers.stop()
    assert proxy.ended == 3
    assert worker.count("no broker answers the consumer") == 3


def test_a_module_that_is_not_there(fleet: Fleet) -> None:
    output = _refusal(fleet, "tests.jobs.nowhere")
    assert "tests.jobs.nowhere" in output
    assert "STREAMS_JOBS" in output


def test_a_module_that_imports_what_is_made_of_it(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "circular.py").write_text("from streams import Queue, app\nqueue = Queue('a')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    output = _refusal(fleet, "circular")
    assert "a job module imports streams.app, which is made of the job modules" in output
    assert "declares no queue" not in output


def test_modules_that_cannot_be_imported(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    workers = {_package(tmp_path, name): fleet(name).launch() for name in BROKEN}
    for module, worker in workers.items():
        assert worker.wait(within=60) != 0, worker.output
        assert BROKEN[module.parent.name][1] in worker.output
        assert f'File "{module}"' in worker.output, "it leads to the line"


def _package(directory: Path, name: str) -> Path:
    """Write a package whose one module cannot be imported; returns that module."""
    module = directory / name / "deep.py"
    module.parent.mkdir()
    (module.parent / "__init__.py").touch()
    module.write_text(BROKEN[name][0])
    return module


def _faust(*arguments: str, **variables: str) -> tuple[int, str]:
    """The exit code and the output of a command of `faust -A streams`."""
    foreign = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMS_", "KAFKA_"))}
    command = [str(Path(sys.executable).with_name("faust")), "-A", "streams", *arguments]
    ended = subprocess.run(
        command, cwd=ROOT, env=foreign | variables, capture_output=True, text=True, timeout=60, check=False
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_settings_that_cannot_be_used() -> None:
    code, output = _faust("worker", STREAMS_CONCURRENCY="many", STREAMS_CONCURENCY="5", KAFKA_SECURITY_PROTOCOL="TLS")
    assert code == 1, output
    assert output.splitlines() == [
        "error: KAFKA_SECURITY_PROTOCOL='TLS': expected 'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'",
        "error: STREAMS_CONCURRENCY='many': expected a whole number",
    ]


def test_a_variable_that_nothing_reads() -> None:
    """It is told before what it was meant to prevent."""
    code, output = _faust("worker", STREAMS_SHIPPED_JOBS="false", STREAMS_JOB="newsletter")
    assert code == 1, output
    first, second = output.splitlines()
    assert "STREAMS_JOB is set" in first
    assert "did you mean STREAMS_JOBS?" in first
    assert second.startswith("error: no queue belongs to pool 'default'")


def test_a_registry_that_cannot_be() -> None:
    code, output = _faust("worker", SCHEMA_REGISTRY_URL="nonsense")
    assert code == 1, output
    assert "error: no schema registry can be reached with these SCHEMA_REGISTRY_* variables: Invalid url" in output
    assert "Traceback" not in output


@pytest.fixture
def silent_broker() -> Iterator[str]:
    """An address where connections are taken and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_while_it_waits_for_a_broker(
    silent_broker: str, namespace: str, tmp_path: Path, number: signal.Signals
) -> None:
    """It ends in order: a stop that took too long would end with an error."""
    workers = Workers("tests.jobs.ordered", namespace, silent_broker, tmp_path)
    worker = workers.launch()
    try:
        until(lambda: f"waiting for a Kafka broker at {silent_broker}" in worker.output, within=30, what=worker.tail)
        os.kill(worker.pid, number)
        assert worker.wait(within=30) == 0, worker.output
        assert "Traceback" not in worker.output
    finally:
        workers.close()


def test_a_certificate_that_is_not_there() -> None:
    code, output = _faust("worker", KAFKA_SECURITY_PROTOCOL="SSL", KAFKA_SSL_CA_LOCATION="/nowhere/ca.pem")
    assert code == 1, output
    assert "SetupError: the Kafka client refuses its settings" in output
    assert "ssl.ca.location" in output


def test_enqueue_without_a_broker() -> None:
    nobody = f"127.0.0.1:{free_port()}"
    payload = '{"to": ["a@example.org"], "subject": "s", "text": "t"}'
    code, output = _faust("enqueue", "email", "jobs.email.SendEmail", payload, KAFKA_BOOTSTRAP_SERVERS=nobody)
    assert code == 2, output
    (line,) = output.splitlines()
    assert line.startswith(f"error: no Kafka broker answers at {nobody} (")
    assert "Connection refused" in line
    assert "check KAFKA_BOOTSTRAP_SERVERS" in line


def test_no_broker() -> None:
    nobody = f"127.0.0.1:{free_port()}"
    # The real worker waits a minute for a broker that is just starting.
    program = (
        "import streams.kafka.admin.topics; from faust.cli.faust import cli\n"
        "streams.kafka.admin.topics.PATIENCE = 1.0; streams.kafka.admin.topics._NEXT_TIMEOUT = 1.0; cli()"
    )
    environment = os.environ | {"KAFKA_BOOTSTRAP_SERVERS": nobody, "PYTHONPATH": str(ROOT), "STREAMS_NAMESPACE": "none"}
    command = [sys.executable, "-c", program, "-A", "streams", "worker", "-l", "info"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    output = ended.stdout + ended.stderr
    assert ended.returncode != 0, output
    assert f"no Kafka broker answers at {nobody}" in output
    assert "make broker" in output
    assert "Connection refused" in output
    assert "FAIL" not in output, "one line a wait, not one a try to connect"
