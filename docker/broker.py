"""A single-node Apache Kafka in a local JVM, for development and tests.

`python docker/broker.py` prints KAFKA_BOOTSTRAP_SERVERS=host:port on stdout once the broker answers; everything else
goes to stderr and Kafka's own log to a file. It runs until Ctrl-C, SIGTERM or the end of the process that started it.
"""

from __future__ import annotations

import argparse
import base64
import os
import shlex
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import FrameType

from claims import DirectoryInUse, claim, sign
from classes import archive_of, made_by, use
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from jvm import Jvm
from ports import HOST, free_port, is_free
from toolchain import DOCKER_WAY, ROOT, ToolMissing, find_java, note, resolve_jars

CONFIG = ROOT / "docker" / "broker"
START_SECONDS = 180.0
HEAP = "-Xms256m -Xmx512m"
#: As in Kafka's own scripts, KAFKA_JVM_PERFORMANCE_OPTS names others.
PERFORMANCE = "-XX:+UseG1GC -XX:MaxGCPauseMillis=20"


class StartFailed(Exception):
    """The broker cannot run. The message names the remedy."""


class PortLost(Exception):
    """Another server has taken the port meanwhile."""


@dataclass(frozen=True)
class Node:
    """Where one broker listens and keeps its files."""

    data: Path
    lock: int  # an open file; the JVM inherits it, so the directory is locked until both are gone
    log: Path
    port: int
    controller_port: int
    listeners: tuple[str, ...] = ()  # beside the usual one
    extra: Path | None = None  # more properties
    cluster: str = ""  # the id of the cluster that it is one of, if that is to have several

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def formatted(self) -> bool:
        return self._meta.exists()

    @property
    def _meta(self) -> Path:
        return self.data / "log" / "meta.properties"

    def cluster_id(self) -> str:
        """The id that formatting has given to this data: what tells this broker from any other."""
        lines = self._meta.read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith("cluster.id="))

    def write_properties(self) -> Path:
        """Write server.properties for this run: the shared settings, the ports and directories, what else is wanted."""
        clients = ",".join((f"PLAINTEXT://{self.bootstrap}", *self.listeners))
        path = self.data / "server.properties"
        path.write_text(
            (CONFIG / "server.properties").read_text()
            + f"\nlisteners={clients},CONTROLLER://{HOST}:{self.controller_port}\n"
            + f"advertised.listeners={clients}\n"
            + f"controller.quorum.voters=1@{HOST}:{self.controller_port}\n"
            + f"log.dirs={self.data / 'log'}\n"
            + (self.extra.read_text() if self.extra else "")
        )
        return path


@dataclass(frozen=True)
class Kafka:
    """Kafka's programs on this machine's Java."""

    java: str
    jars: Path

    @cached_property
    def classes(self) -> Path:
        """The archive of loaded classes."""
        return archive_of(self.java, self.jars)

    def command(self, options: list[str], main: str, *arguments: str) -> list[str]:
        return [
            self.java,
            *shlex.split(os.environ.get("KAFKA_HEAP_OPTS", HEAP)),
            *shlex.split(os.environ.get("KAFKA_JVM_PERFORMANCE_OPTS", PERFORMANCE)),
            *options,
            # A broker without memory answers nobody, and would go on so.
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={CONFIG / 'log4j2.yaml'}",
            "-cp",
            f"{self.jars}/*",
            main,
            *arguments,
        ]

    def format(self, properties: Path, log: Path, cluster: str) -> None:
        """Prepare an empty data directory. KRaft refuses to start on one without a cluster id."""
        tool = self.command(
            use(self.classes), "kafka.tools.StorageTool", "format", "-g", "-t", cluster, "-c", str(properties)
        )
        formatting = Jvm(tool, log)
        try:
            code = formatting.wait(START_SECONDS)
        finally:
            formatting.stop()
        if code != 0:
            raise StartFailed(f"Kafka could not format {properties.parent}:\n{formatting.last_words()}")

    @contextmanager
    def running(self, node: Node) -> Iterator[Jvm]:
        """The broker's JVM, started here and stopped at the end."""
        properties = node.write_properties()
        if not node.formatted:
            self.format(properties, node.log, node.cluster or new_cluster_id())
        with made_by(self.classes) as options:
            jvm = Jvm(self.command(options, "kafka.Kafka", str(properties)), node.log, pass_fds=(node.lock,))
            try:
                yield jvm
            finally:
                jvm.stop()


def new_cluster_id() -> str:
    return base64.urlsafe_b64encode(b"k" + uuid.uuid4().bytes[1:]).decode().rstrip("=")


def choose_port(wanted: int) -> int:
    """The wanted port, or a free one when it is 0 or taken."""
    if wanted == 0:
        return free_port()
    if is_free(wanted):
        return wanted
    port = free_port()
    note(f"Port {wanted} is taken; this broker uses {port}.")
    return port


def await_answer(jvm: Jvm, node: Node, parent: int) -> None:
    """Return when this very broker serves metadata that lists it: then topics can be created, too."""
    admin = AdminClient({"bootstrap.servers": node.bootstrap, "reconnect.backoff.max.ms": 100, "log_level": 0})
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        if jvm.wait(0) is not None:
            if "Address already in use" in jvm.said():
                raise PortLost
            raise StartFailed(f"Kafka ended while starting. The end of {node.log}:\n{jvm.last_words()}")
        if os.getppid() != parent:
            raise SystemExit(0)
        with suppress(KafkaException):
            told = admin.list_topics(timeout=0.5)
            answering: object = told.cluster_id  # its stubs know only None
            if answering != node.cluster_id():
                raise PortLost
            if told.brokers:
                return
    raise StartFailed(f"Kafka did not answer within {START_SECONDS:.0f} s; see {node.log}.")


def stay(jvm: Jvm, node: Node, parent: int) -> None:
    """Return when the process that started us has ended. Raises StartFailed when Kafka ends by itself."""
    while os.getppid() == parent:
        if (code := jvm.wait(0.5)) is not None:
            raise StartFailed(f"Kafka ended with code {code}. The end of {node.log}:\n{jvm.last_words()}")


def run(node: Node, parent: int) -> None:
    """Start the broker, say where it is, and stay until told to stop."""
    kafka = Kafka(find_java(), resolve_jars(CONFIG / "pom.xml"))
    while True:
        try:
            return serve(kafka, node, parent)
        except PortLost:  # between our look at the port and Kafka's: two brokers started at once
            port = choose_port(node.port)
            node = replace(node, port=port, controller_port=free_port(but=port))


def serve(kafka: Kafka, node: Node, parent: int) -> None:
    began = time.monotonic()
    with kafka.running(node) as jvm:
        sign(node.data, jvm.pid, node.bootstrap)
        await_answer(jvm, node, parent)
        note(f"Kafka is ready after {time.monotonic() - began:.1f} s; data: {node.data}, log: {node.log}")
        print(f"KAFKA_BOOTSTRAP_SERVERS={node.bootstrap}", flush=True)
        stay(jvm, node, parent)


def _stop_once(number: int, _frame: FrameType | None) -> None:
    # A terminal and make may both send one: the stop under way is not to be interrupted by the second.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(0)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A single-node Apache Kafka in a local JVM.", epilog=DOCKER_WAY)
    parser.add_argument("--data", type=Path, default=ROOT / ".data" / "kafka", help="kept between runs (%(default)s)")
    parser.add_argument("--port", type=int, default=9092, help="0 or a taken one: a free port (%(default)s)")
    parser.add_argument("--log", type=Path, help="Kafka's log file (kafka.log in the data directory)")
    parser.add_argument("--ephemeral", action="store_true", help="data in a directory that is removed at the end")
    parser.add_argument("--properties", type=Path, help="a file of more properties for Kafka, which win")
    parser.add_argument("--listener", action="append", default=[], help="one more, as in SECURE://127.0.0.1:9094")
    parser.add_argument("--cluster-id", default="", help="for several brokers, whose --properties name each other")
    return parser.parse_args(arguments)


def node_of(options: argparse.Namespace) -> Node:
    """The broker that the command line asks for; its data directory is ours from here on."""
    data = options.data.resolve()
    lock = claim(data)
    # Jobs are in there: others who work on this machine are to read none of it.
    data.chmod(0o700)
    log = (options.log or data / "kafka.log").resolve()
    log.parent.mkdir(parents=True, exist_ok=True)
    port = choose_port(options.port)
    controller = free_port(but=port)
    return Node(data, lock, log, port, controller, tuple(options.listener), options.properties, options.cluster_id)


def main() -> None:
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop_once)
    options = parse()
    with ExitStack() as scratch:
        if options.ephemeral:
            options.data = Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix="kafka-jobs-")))
        try:
            run(node_of(options), parent)
        except (StartFailed, DirectoryInUse, ToolMissing) as failure:
            sys.exit(f"error: {failure}")


if __name__ == "__main__":
    main()
