"""The embedded broker's promises, on the broker itself; and those of whatever broker the fixtures give."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.brokers import Broker
from tests.brokers.embedded import SCRIPTS, free_port, read_bootstrap, run_embedded

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start docker/broker.py with options; whatever a test leaves running is stopped."""
    started: list[subprocess.Popen[str]] = []

    def begin(*options: str) -> subprocess.Popen[str]:
        started.append(run_embedded(*options, stderr=subprocess.PIPE))
        return started[-1]

    yield begin
    for process in started:
        process.terminate()
        process.communicate(timeout=60)


def stop(process: subprocess.Popen[str]) -> str:
    """Stop it in order; returns what it said on stderr."""
    process.terminate()
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    return said


def create_topic(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})  # the future does not keep it alive
    admin.create_topics([NewTopic(topic, 1)])[topic].result(30)


def write(bootstrap: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce(topic, value)
    assert producer.flush(30) == 0


def read_all(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[bytes | None] = []
    give_up = time.monotonic() + 30
    while len(found) < count and time.monotonic() < give_up:
        found += [message.value() for message in consumer.consume(count, 0.5) if message.error() is None]
    consumer.close()
    return found


def jvm_of(data: Path) -> psutil.Process:
    return psutil.Process(json.loads((data / "broker.json").read_text())["jvm"])


def test_a_second_start_keeps_the_data(start: Start, tmp_path: Path) -> None:
    options = ("--data", str(tmp_path), "--port", str(free_port()))
    first = start(*options)
    address = read_bootstrap(first)
    create_topic(address, "kept")
    write(address, "kept", b"job")
    stop(first)
    assert read_bootstrap(start(*options)) == address
    assert read_all(address, "kept", 1) == [b"job"]


def test_a_taken_port_gives_a_free_one(start: Start) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        broker = start("--ephemeral", "--port", str(port))
        address = read_bootstrap(broker)
        assert AdminClient({"bootstrap.servers": address}).list_topics(timeout=10).brokers
        assert address != f"127.0.0.1:{port}"
        assert f"Port {port} is taken" in stop(broker)


def test_two_that_start_at_once_on_one_port_do_not_mistake_each_other(start: Start) -> None:
    port = str(free_port())
    both = [start("--ephemeral", "--port", port) for _ in range(2)]
    addresses = [read_bootstrap(broker) for broker in both]
    assert f"127.0.0.1:{port}" in addresses
    clusters = {AdminClient({"bootstrap.servers": address}).list_topics(timeout=10).cluster_id for address in addresses}
    assert len(clusters) == 2


def test_an_ephemeral_broker_leaves_no_files(start: Start) -> None:
    broker = start("--ephemeral", "--port", "0")
    read_bootstrap(broker)
    found = re.search(r"data: (\S+),", stop(broker))
    assert found is not None
    assert not Path(found.group(1)).exists()


def test_it_listens_on_loopback_only(start: Start, tmp_path: Path) -> None:
    """And its data are for nobody else on this machine."""
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    read_bootstrap(start("--data", str(data), "--port", "0"))
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    listening = [c for c in jvm_of(data).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}


def test_a_misspelt_topic_is_not_created(start: Start) -> None:
    address = read_bootstrap(start("--ephemeral", "--port", "0"))
    producer = Producer({"bootstrap.servers": address, "message.timeout.ms": 3000})
    errors: list[object] = []
    producer.produce("misspelt", b"job", on_delivery=lambda error, _message: errors.append(error))
    producer.flush(30)
    assert errors[0] is not None


def test_the_jvm_ends_with_broker_py_killed(start: Start, tmp_path: Path) -> None:
    broker = start("--data", str(tmp_path), "--port", "0")
    read_bootstrap(broker)
    jvm = jvm_of(tmp_path)
    broker.kill()
    jvm.wait(5)
    # Its lock is gone with it: the next one starts at once on the same data.
    read_bootstrap(start("--data", str(tmp_path), "--port", "0"))


def test_broker_and_jvm_end_with_their_parent_killed(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "broker.py"), "--data", str(tmp_path), "--port", "0"]
    parent_code = f"import subprocess; subprocess.run({command!r})"
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True) as parent:
        read_bootstrap(parent)
        (broker,) = psutil.Process(parent.pid).children()
        jvm = jvm_of(tmp_path)
        parent.kill()
        jvm.wait(30)
        broker.wait(30)


def test_ctrl_c_twice_still_stops_it_in_order(start: Start, tmp_path: Path) -> None:
    broker = start("--data", str(tmp_path), "--port", "0")
    read_bootstrap(broker)
    jvm = jvm_of(tmp_path)
    broker.send_signal(signal.SIGINT)
    broker.send_signal(signal.SIGINT)
    broker.communicate(timeout=60)
    assert broker.returncode == 0
    assert not jvm.is_running()


def test_a_second_broker_on_the_same_data_is_told_where_the_first_is(start: Start, tmp_path: Path) -> None:
    address = read_bootstrap(start("--data", str(tmp_path), "--port", "0"))
    second = start("--data", str(tmp_path), "--port", "0")
    told, said = second.communicate(timeout=60)
    assert (second.returncode, told) == (1, "")
    assert f"KAFKA_BOOTSTRAP_SERVERS={address}" in said
    assert "--ephemeral" in said


def test_a_jvm_that_dies_is_reported_with_the_end_of_its_log(start: Start, tmp_path: Path) -> None:
    broker = start("--data", str(tmp_path), "--port", "0")
    read_bootstrap(broker)
    jvm_of(tmp_path).kill()
    said = broker.communicate(timeout=60)[1]
    assert broker.returncode == 1
    assert "Kafka ended with code -9" in said
    assert "kafka.server" in said


def without_java(tmp_path: Path, **variables: str) -> str:
    """What docker/broker.py says where PATH has none of its tools."""
    command = [sys.executable, str(SCRIPTS / "broker.py"), "--data", str(tmp_path / "data"), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    environment |= {"PATH": str(tmp_path), **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_missing_java_is_named_with_the_remedy(tmp_path: Path) -> None:
    said = without_java(tmp_path)
    assert "Java is missing: no java was found on PATH" in said
    assert "apt install openjdk" in said
    assert "docker compose" in said


def test_an_old_java_is_named_with_its_version(tmp_path: Path) -> None:
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    assert "is version 11, 17 is needed" in without_java(tmp_path)


def test_a_wrong_java_home_is_named(tmp_path: Path) -> None:
    assert "JAVA_HOME=/nowhere" in without_java(tmp_path, JAVA_HOME="/nowhere")


def check_serves(broker: Broker, values: list[bytes]) -> None:
    write(broker.bootstrap, "jobs", values[-1])
    assert read_all(broker.bootstrap, "jobs", len(values)) == values


def test_a_test_broker_keeps_address_and_data_through_stop_kill_and_freeze(own_broker: Broker) -> None:
    address = own_broker.bootstrap
    create_topic(address, "jobs")
    check_serves(own_broker, [b"1"])
    own_broker.stop()
    own_broker.start()
    check_serves(own_broker, [b"1", b"2"])
    own_broker.kill()
    own_broker.start()
    check_serves(own_broker, [b"1", b"2", b"3"])
    own_broker.freeze()
    with pytest.raises(Exception, match=r"_TRANSPORT|_TIMED_OUT"):
        AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=2)
    own_broker.thaw()
    check_serves(own_broker, [b"1", b"2", b"3", b"4"])
    assert own_broker.bootstrap == address


def test_the_shared_broker_answers(kafka: str, namespace: str) -> None:
    create_topic(kafka, namespace)
    write(kafka, namespace, b"job")
    assert read_all(kafka, namespace, 1) == [b"job"]
