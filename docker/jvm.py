"""A server in a JVM that never outlives the process that started it."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import IO

STOP_SECONDS = 30.0
# Reads until its pipe closes, which the kernel does when our process ends in whatever way, kill -9 included.
WATCHDOG = 'cat >/dev/null; kill -KILL "$1" 2>/dev/null'


class Jvm:
    """A running JVM. Its output goes to the log file; start and stop it from one thread."""

    def __init__(self, command: list[str], log: Path, pass_fds: tuple[int, ...] = ()) -> None:
        self._log = log
        with log.open("ab") as output:
            self._log_start = output.tell()
            # A session of its own: Ctrl-C reaches our process alone, which then stops the JVM in order.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        self.pid = self._process.pid
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", WATCHDOG, "sh", str(self.pid)], stdin=subprocess.PIPE, start_new_session=True
        )

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None when the JVM still runs after that time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> int:
        """Stop in order, by force after 30 seconds. Returns the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)  # a frozen JVM would not see the next one
            self._process.terminate()
            if self.wait(STOP_SECONDS) is None:
                self._process.kill()
        code = self._process.wait()
        self._dismiss_watchdog()
        return code

    def last_words(self, lines: int = 20) -> str:
        """The end of the log, to explain a start that failed."""
        return "\n".join(self.said().splitlines()[-lines:])

    def said(self) -> str:
        """All of its log so far, without that of earlier runs."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def _dismiss_watchdog(self) -> None:
        self._watchdog.kill()
        pipe: IO[bytes] | None = self._watchdog.stdin
        if pipe is not None:
            pipe.close()
        self._watchdog.wait()
