"""What the README tells a new user to type, typed as it stands there."""

from __future__ import annotations

import json
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
from confluent_kafka import Producer

from producers import JobProducer, ProducerSettings
from schemas import Codec, shipped
from schemas.models.email import SendEmail
from schemas.models.image import ResizeImage
from schemas.models.webhook import DeliverWebhook
from tests.brokers.embedded import resolve_tools
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
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
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


@pytest.fixture
def settings(kafka: str, namespace: str) -> ProducerSettings:
    """A producer's settings for this test's topics."""
    return ProducerSettings(bootstrap_servers=kafka, namespace=namespace)


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
        printed_async = _run(".venv/bin/python publish_async.py", home, with_broker).splitlines()
        enqueued = _run(command(".venv/bin/faust -A streams enqueue newsletter"), home, with_broker).split()[0]
        subjects = ["Issue 1", "Issue 2", "Issue 3", "Issue 4", "Hi"]
        output = _await(log, *(f"{subject} for ['ada@example.org']" for subject in subjects))
    *published, third = printed
    fourth_id, fourth = printed_async
    handled = re.findall(r"\[newsletter (\S+)\] (.+) for \['ada@example\.org'\]", output)
    assert handled == list(zip([*published, fourth_id, enqueued], subjects, strict=True)), "in order, under their ids"
    for offset, position in ((2, third), (3, fourth)):
        told = rf"LogPosition\(topic='{namespace}\.newsletter', partition=\d+, offset={offset}\)"
        assert re.fullmatch(told, position)


def test_delayed_jobs(home: Path, with_broker: Environment) -> None:
    with _running(command("STREAMS_JOBS=newsletter"), home, with_broker) as log:
        _await(log, "[^Worker]: Ready")
        printed = _run(".venv/bin/python later.py", home, with_broker).splitlines()
        assert printed == ["new-year", "2035-01-01 08:00:00+00:00"]
        output = _await(log, "Soon for ['ada@example.org']", "[newsletter trial-ends] Soon")
        assert "[newsletter new-year]" not in output
        _run(command(".venv/bin/faust -A streams enqueue --id later"), home, with_broker)
        listed = _run(command(".venv/bin/faust -A streams delayed list"), home, with_broker)
        assert re.fullmatch(r"\S+Z  newsletter  jobs\.email\.SendEmail  later\n", listed)
        shown = json.loads(_run(command(".venv/bin/faust -A streams delayed show"), home, with_broker))
        assert (shown["id"], shown["queue"], shown["key"]) == ("later", "newsletter", None)
        moved = _run(command(".venv/bin/faust -A streams delayed reschedule"), home, with_broker)
        assert moved == "later falls due at 2035-01-01T08:00:00.000Z\n"
        _run(command(".venv/bin/faust -A streams delayed run-now"), home, with_broker)
        _await(log, "[newsletter later] Later")
        with pytest.raises(AssertionError, match="no delayed job 'later' waits"):
            _run(command(".venv/bin/faust -A streams delayed cancel"), home, with_broker)


def test_failures_go_by_their_policy(home: Path, with_broker: Environment, settings: ProducerSettings) -> None:
    with _running(command("STREAMS_JOBS=newsletter").replace("=newsletter", "=policies"), home, with_broker) as log:
        _await(log, "[^Worker]: Ready")
        with JobProducer(settings) as producer:
            mail = SendEmail(to=["ada@example.org"], subject="Hi", text="Hello!")
            job_id = producer.publish(mail, queue="shop", key="ada").id
            hook = DeliverWebhook(url="https://example.org/", event="order.paid", body="{}")
            producer.publish(hook, queue="shop", key="bob")
            small = ResizeImage(source="a.png", target="b.png", width=1, height=1)
            given_up = producer.publish(small, queue="shop", key="carl").id
            producer.publish(mail, queue="shop", id="singly", max_attempts=1)
            _publish_with_header(settings, "shop", mail, "job-max-attempts", b"1")
        output = _await(
            log,
            "run 1 of order.paid",
            f"dead  shop {job_id}",
            f"dead  shop {given_up}",
            "dead  shop once",
            "dead  shop singly",
        )
    assert re.findall(rf"retry shop {job_id} .*: (\w+): .*; again in 0\.2 s, attempts made: (\d)", output) == [
        ("ConnectionError", "1"),
        ("ConnectionError", "2"),
    ]
    assert re.search(rf"dead  shop {job_id} .*ConnectionError: .* \(gave up after 3 attempts\)", output)
    assert f"retry shop {given_up}" not in output, "NO_RETRY"
    assert "retry shop once" not in output, "job-max-attempts"
    assert "retry shop singly" not in output, "max_attempts"


def _publish_with_header(settings: ProducerSettings, queue: str, payload: object, name: str, value: bytes) -> None:
    """Publish a job whose id is `once`, as a producer of any language can: with Kafka's client alone."""
    producer = Producer(settings.client_config())
    headers: dict[str, str | bytes | None] = {"ce_id": b"once", name: value}
    producer.produce(f"{settings.namespace}.{queue}", Codec(shipped()).encode(payload, queue), headers=headers)
    assert producer.flush(SECONDS) == 0


def test_a_handler_says_what_follows(home: Path, with_broker: Environment, settings: ProducerSettings) -> None:
    with _running(command("STREAMS_JOBS=newsletter").replace("=newsletter", "=calls"), home, with_broker) as log:
        _await(log, "[^Worker]: Ready")
        with JobProducer(settings) as producer:
            job, refused = (
                producer.publish(DeliverWebhook(url=url, event="call", body="{}"), queue="calls", key="ada").id
                for url in ("https://example.org/", "http://example.org/")
            )
        output = _await(log, f"later calls {job}", f"dead  calls {refused}")
    assert re.search(rf"retry calls {job} .*half a second; again in 0\.5 s, attempts made: 1", output)
    assert re.search(rf"later calls {job} .*is closed; again in 3600\.0 s, attempts made: 1", output)
    assert f"retry calls {refused}" not in output


def test_models_of_ones_own(home: Path, with_broker: Environment) -> None:
    generate = command(".venv/bin/python -m schemas.generate")
    _run(generate, home, with_broker)
    (home / "use.py").write_text(
        textwrap.dedent(
            """
            import dataclasses
            from producers import JobProducer
            from shop.models.orders import PlaceOrder

            order = PlaceOrder(sku="tea")
            try:
                order.count = 2
            except dataclasses.FrozenInstanceError:
                print("frozen")
            with JobProducer() as producer:
                producer.publish(order)
            """
        )
    )
    with _running(command("STREAMS_JOBS=newsletter").replace("=newsletter", "=orders"), home, with_broker) as log:
        _await(log, "[^Worker]: Ready")
        assert _run(".venv/bin/python use.py", home, with_broker) == "frozen\n"
        assert "[orders " in _await(log, "1 of tea")

    schema = home / "shop/schemas/orders/PlaceOrder.v1.avsc"
    another = '{"name": "by", "type": "string"}, {"name": "sku"'
    schema.with_name("PlaceOrder.v2.avsc").write_text(schema.read_text().replace('{"name": "sku"', another))
    with pytest.raises(AssertionError, match="v2 cannot read v1"):
        _run(generate, home, with_broker)


@pytest.fixture
def kafkas_tools(tmp_path: Path) -> Path:
    """A directory with Kafka's console consumer, as Kafka's distribution has it."""
    jars, tool = resolve_tools(), tmp_path / "bin" / "kafka-console-consumer.sh"
    tool.parent.mkdir()
    tool.write_text(f"exec java -cp '{jars}/*' org.apache.kafka.tools.consumer.ConsoleConsumer \"$@\"\n")
    tool.chmod(0o755)
    return tool.parent


def _expire(settings: ProducerSettings, log: Path) -> str:
    """Have a job expire before it can run; its id, when it is a dead letter."""
    with JobProducer(settings) as producer:
        mail = SendEmail(to=["ada@example.org"], subject="Late", text="Hello!")
        job_id = producer.publish(mail, queue="newsletter", key="ada", expires_in=0.001).id
    _await(log, f"dead  newsletter {job_id}")
    return job_id


def test_dead_letters_are_shown_by_kafkas_tools(
    home: Path, with_broker: Environment, kafka: str, namespace: str, kafkas_tools: Path
) -> None:
    show = command("kafka-console-consumer.sh")
    for ours, of_this_test in (("127.0.0.1:9092", kafka), (" jobs.", f" {namespace}.")):
        assert show.count(ours) == 1
        show = show.replace(ours, of_this_test)
    with _running(command("STREAMS_JOBS=newsletter"), home, with_broker) as log:
        _await(log, "[^Worker]: Ready")
        settings = ProducerSettings(bootstrap_servers=kafka, namespace=namespace)
        job_id = _expire(settings, log)
        path = f"{kafkas_tools}{os.pathsep}{with_broker['PATH']}"
        shown = _run(show, home, {**with_broker, "PATH": path})
        jobs = {**with_broker, "STREAMS_JOBS": "newsletter"}
        told = {
            name: _run(command(f".venv/bin/faust -A streams dead {name}"), home, jobs)
            for name in ("list", "show", "redrive")
        }
        mended = _run(".venv/bin/python letters.py", home, jobs)
        _await(log, "Late for ['ada@example.org']")
        _expire(settings, log)
        told["purge"] = _run(command(".venv/bin/faust -A streams dead purge"), home, jobs)
    assert job_id in told["list"]
    assert "Late" in told["show"]
    assert "JobExpired" in told["show"]
    assert "would" in told["redrive"]
    assert "1 dead letter purged" in told["purge"]
    assert re.fullmatch(rf"{job_id} Payload\(type='jobs.email.SendEmail', .*\)\nsent back: 1\n", mended), mended
    assert shown.count("Partition:") == 1
    assert f"ce_id:{job_id}" in shown
    assert "job-error-type:streams.errors.JobExpired" in shown
    assert shown.endswith("\tada\n")
