"""A broker in a local JVM: docker/broker.py as a child process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.brokers.base import START_SECONDS, Broker

_TAIL_LINES = 40
#: For JVMs of a minute: compiling well and collecting in parallel costs more than it brings.
SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SCRIPTS = Path(__file__).resolve().parents[2] / "docker"


class EmbeddedBroker(Broker):
    """docker/broker.py as a child process, with its data in a temporary directory; `options` are added to its own."""

    def __init__(self, *options: str, address: str = "", heap: str = "") -> None:
        """`address` is where it is to listen, any free port by default; `heap` has options of its JVM."""
        self._options = options
        self._environment = {**os.environ, "KAFKA_HEAP_OPTS": heap} if heap else None
        self.data = Path(tempfile.mkdtemp(prefix="kafka-jobs-test-"))
        self.bootstrap = address
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        port = self.bootstrap.rpartition(":")[2] or "0"
        process = run_embedded("--data", str(self.data), "--port", port, *self._options, env=self._environment)
        self._process = process
        address = read_bootstrap(process)
        if self.bootstrap not in ("", address):
            self.stop()
            raise RuntimeError(f"the broker's port was taken while it was down: {self.bootstrap} became {address}")
        self.bootstrap = address

    def stop(self) -> None:
        self._end(self._running().terminate)

    def kill(self) -> None:
        # broker.py sees its JVM die, says so and ends, too.
        self._end(lambda: os.kill(self.jvm_pid(), signal.SIGKILL))

    def has_ended(self) -> bool:
        """Whether it has ended by itself. Then it may be started again."""
        if self._process is None or self._process.poll() is None:
            return False
        self._process.communicate()
        self._process = None
        return True

    def freeze(self) -> None:
        os.kill(self.jvm_pid(), signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.jvm_pid(), signal.SIGCONT)

    def stop_if_running(self) -> None:
        """Stop it, unless it is down already."""
        if self._process is not None:
            self.stop()

    def close(self) -> None:
        self.stop_if_running()
        shutil.rmtree(self.data)

    def last_words(self) -> str:
        return "\n".join((self.data / "kafka.log").read_text("utf-8", "replace").splitlines()[-_TAIL_LINES:])

    def jvm_pid(self) -> int:
        self._running()
        return int(json.loads((self.data / "broker.json").read_text())["jvm"])

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the broker is not running: call start() first")
        return self._process

    def _end(self, how: Callable[[], None]) -> None:
        process = self._running()
        how()
        process.communicate(timeout=START_SECONDS)
        self._process = None


def run_embedded(*options: str, **popen: Any) -> subprocess.Popen[str]:
    """Start docker/broker.py with these options; its stdout is a pipe."""
    command = [sys.executable, str(SCRIPTS / "broker.py"), *options]
    popen.setdefault("env", os.environ | {"KAFKA_JVM_PERFORMANCE_OPTS": SHORT_LIVED})
    process: subprocess.Popen[str] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **popen)
    return process


def read_bootstrap(process: subprocess.Popen[str]) -> str:
    """The address that docker/broker.py prints when it is ready. Raises RuntimeError when it ends before that."""
    assert process.stdout is not None
    name, _, address = process.stdout.readline().strip().partition("=")
    if name != "KAFKA_BOOTSTRAP_SERVERS":
        process.communicate(timeout=START_SECONDS)
        raise RuntimeError(f"the embedded broker did not start (exit code {process.returncode}); see its message above")
    return address


def resolve_tools() -> Path:
    """The directory with the jars of Kafka's command-line tools; fetched once."""
    resolver = [sys.executable, str(SCRIPTS / "toolchain.py"), str(Path(__file__).with_name("tools") / "pom.xml")]
    return Path(subprocess.run(resolver, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())


def free_port() -> int:
    chooser = [sys.executable, str(SCRIPTS / "ports.py")]
    return int(subprocess.run(chooser, stdout=subprocess.PIPE, check=True).stdout)
