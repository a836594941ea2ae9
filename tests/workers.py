"""Workers as processes of their own: started, stopped in order, killed, and awaited by condition."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from tests import ledger
from tests.ledger import Ledger
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]

START_SECONDS = 180.0
STOP_SECONDS = 60.0

_TAIL_LINES = 40


class Worker:
    """One `faust -A streams worker`. Its output goes to a file."""

    def __init__(self, log: Path, environment: Mapping[str, str], directory: Path) -> None:
        """It runs in a directory, which may be removed once it has started."""
        self.log = log
        command = [str(Path(sys.executable).with_name("faust")), "-A", "streams", "worker", "-l", "info"]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=directory, env=dict(environment), stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    @property
    def output(self) -> str:
        """Everything it has written so far."""
        return self.log.read_text("utf-8", "replace")

    def count(self, pattern: str) -> int:
        """How many lines of its output match."""
        return sum(1 for line in self.output.splitlines() if re.search(pattern, line))

    @property
    def member(self) -> str | None:
        """Its id in the group, None before it has joined."""
        joined: list[str] = re.findall(r"Joined group .* with member_id (\S+)", self.output)
        return joined[-1] if joined else None

    def tail(self) -> str:
        return "\n".join(self.output.splitlines()[-_TAIL_LINES:])

    def wait(self, within: float = STOP_SECONDS) -> int:
        """Its exit code. Raises TimeoutError when it has not ended within so many seconds."""
        until(lambda: not self.running, within=within, what=lambda: f"worker {self.pid} ended; its log:\n{self.tail()}")
        return self._process.returncode

    def terminate(self) -> None:
        """Ask it to stop in order; returns at once."""
        self._process.send_signal(signal.SIGTERM)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to it and all of its processes, as a terminal, systemd and `timeout` do; returns at once."""
        os.killpg(self.pid, number)

    def stop(self) -> None:
        """Stop it in order. Raises AssertionError when it does not say it went well."""
        self.terminate()
        code = self.wait()
        assert code == 0, f"worker {self.pid} ended with {code} after SIGTERM:\n{self.tail()}"

    def freeze(self) -> None:
        """Let it do nothing at all, as a machine does that is paused (SIGSTOP)."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> int:
        """Let it go on; returns when that was, by CLOCK_MONOTONIC, in nanoseconds."""
        at = time.monotonic_ns()
        self._process.send_signal(signal.SIGCONT)
        return at

    def kill(self) -> int:
        """Kill it (SIGKILL); returns when that was, by CLOCK_MONOTONIC, in nanoseconds."""
        at = time.monotonic_ns()
        self._process.kill()
        self._process.wait()
        return at


class Workers:
    """The workers of one test: same job module, same namespace, same ledger."""

    def __init__(
        self,
        jobs: str,
        namespace: str,
        bootstrap: str,
        directory: Path,
        *,
        environment: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        """`settings` are STREAMS_* by their names in lower case; `environment` has other variables."""
        self.group = f"{namespace}.{settings.get('pool', 'default')}"
        self.bootstrap = bootstrap
        self.directory = directory
        self.ledger = Ledger(directory / "ledger")
        self.all: list[Worker] = []
        self.kills: dict[int, int] = {}
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("STREAMS_", "KAFKA_"))},
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "PYTHONUNBUFFERED": "1",
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "STREAMS_NAMESPACE": namespace,
            "STREAMS_JOBS": jobs,
            "STREAMS_SHIPPED_JOBS": "false",
            ledger.DIRECTORY: str(self.ledger.directory),
            **(environment or {}),
        } | _variables(settings)

    def start(
        self, count: int = 1, *, environment: Mapping[str, str] | None = None, **settings: object
    ) -> list[Worker]:
        """Start some workers; returns when all of the group have their partitions."""
        started = [self.launch(environment=environment, within=ROOT, **settings) for _ in range(count)]
        self.await_settled()
        return started

    def launch(
        self, *, environment: Mapping[str, str] | None = None, within: Path = ROOT, **settings: object
    ) -> Worker:
        """Start one worker within a directory, with settings and other variables of its own; returns at once."""
        variables = {**self._environment, **(environment or {}), **_variables(settings)}
        worker = Worker(self.directory / f"worker-{len(self.all)}.log", variables, within)
        self.all.append(worker)
        return worker

    def command(
        self, *arguments: str, within: float, environment: Mapping[str, str] | None = None
    ) -> tuple[int | None, str]:
        """Run `faust -A streams ...` in the workers' surroundings; its exit code, None if it was killed after so many
        seconds, and what it wrote."""
        command = [str(Path(sys.executable).with_name("faust")), "-A", "streams", *arguments]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env={**self._environment, **(environment or {})}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=within, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            return None, str(late)
        return done.returncode, done.stdout

    def kill(self, worker: Worker) -> int:
        """Kill a worker (SIGKILL) and remember when; returns that, by CLOCK_MONOTONIC, in nanoseconds."""
        at = self.kills[worker.pid] = worker.kill()
        return at

    def stop(self) -> None:
        """Stop all running workers in order, at the same time."""
        running = self.running
        for worker in running:
            worker.terminate()
        for worker in running:
            code = worker.wait()
            assert code == 0, f"worker {worker.pid} ended with {code} after SIGTERM:\n{worker.tail()}"

    @property
    def running(self) -> list[Worker]:
        return [worker for worker in self.all if worker.running]

    def await_settled(self, within: float = START_SECONDS) -> None:
        """Return when the group is stable with as many members as workers run. Fails as soon as a worker ends."""
        expected = len(self.running)

        def settled() -> bool:
            assert len(self.running) == expected, f"a worker ended while it started:\n{self.tails()}"
            group = describe(self.bootstrap, self.group)
            # A killed worker stays a member until its session is over.
            return group.keys() == {worker.member for worker in self.running} and all(group.values())

        until(settled, within=within, what=lambda: f"{expected} workers have partitions:\n{self.tails()}")

    def await_done(self, jobs: set[str], *, within: float) -> None:
        """Return when all these jobs were done, by the ledger."""
        until(
            lambda: jobs <= self.ledger.done,
            within=within,
            what=lambda: f"{len(jobs)} jobs done; missing {len(jobs - self.ledger.done)}\n{self.tails()}",
        )

    def tails(self) -> str:
        """The last lines of every worker's log."""
        return "\n".join(f"--- {worker.log.name} (pid {worker.pid}, exit code {worker.exit_code})\n{worker.tail()}"
                         for worker in self.all)  # fmt: skip

    def close(self) -> None:
        """Kill what still runs, and print the logs' tails: pytest shows them if the test failed."""
        self.kill_all()
        print(self.tails())

    def kill_all(self) -> None:
        """Kill what still runs."""
        for worker in self.running:
            worker.kill()


def _variables(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"STREAMS_{name.upper()}": str(value) for name, value in settings.items()}


def describe(bootstrap: str, group: str) -> dict[str, set[tuple[str, int]]]:
    """The members of a consumer group and their partitions; empty unless the group is stable."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        found = admin.describe_consumer_groups([group], request_timeout=10)[group].result()
    except KafkaException:
        return {}
    if found.state is not ConsumerGroupState.STABLE:
        return {}
    return {
        member.member_id: {(tp.topic, tp.partition) for tp in member.assignment.topic_partitions}
        for member in found.members
    }
