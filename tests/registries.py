"""A real schema registry for tests: docker/registry.py as a child process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "docker"
STOP_SECONDS = 60.0


class RegistryServer:
    """An Apicurio Registry that keeps its address and its schemas through stops and kills."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, and return when it answers."""
        port = self.url.partition("127.0.0.1:")[2].partition("/")[0] or "0"
        command = [sys.executable, str(SCRIPTS / "registry.py"), "--data", str(self.data), "--port", port]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        name, _, url = self._process.stdout.readline().strip().partition("=")
        if name != "SCHEMA_REGISTRY_URL":
            self._process.communicate(timeout=STOP_SECONDS)
            raise RuntimeError("the registry did not start; see its message above")
        self.url = url

    def stop(self) -> None:
        """Stop in order, and return when it is down."""
        assert self._process is not None
        self._end(self._process.terminate)

    def kill(self) -> None:
        """End it with kill -9."""
        self._end(lambda: os.kill(self.jvm_pid(), signal.SIGKILL))

    def freeze(self) -> None:
        """Keep its connections open but answer nothing."""
        os.kill(self.jvm_pid(), signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after freeze()."""
        os.kill(self.jvm_pid(), signal.SIGCONT)

    def jvm_pid(self) -> int:
        """The process of the registry itself."""
        return int(json.loads((self.data / "registry.json").read_text())["jvm"])

    def abandon(self) -> None:
        """End the process that started it with kill -9, as when a test run is shot."""
        assert self._process is not None
        self._end(self._process.kill)

    def _end(self, how: Callable[[], None]) -> None:
        assert self._process is not None
        how()
        self._process.communicate(timeout=STOP_SECONDS)
        self._process = None

    def close(self) -> None:
        """Stop it, in any state."""
        if self._process is not None:
            self.stop()
