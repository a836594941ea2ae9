"""`python -m streams.demo`, what `make run` runs, as a person would meet it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

SECONDS = 120


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without settings of ours, with some of the test's."""
    foreign = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "STREAMS_"))}
    return {**foreign, **changes}


def command(directory: Path) -> list[str]:
    return [sys.executable, "-m", "streams.demo", "--runs", str(directory / "run"), "--data", str(directory / "kafka")]


def run(directory: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(directory),
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@contextmanager
def running(directory: Path, **changes: str) -> Iterator[subprocess.Popen[str]]:
    """The demonstration as a child; what it started must be gone at the end."""
    with subprocess.Popen(
        command(directory), env=environment(**changes), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        try:
            yield demo
        finally:
            demo.terminate()


def read_until(demo: subprocess.Popen[str], text: str) -> str:
    """What it prints up to a line with that text."""
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"{text!r} did not come:\n{''.join(lines)}")


def test_everything_on_an_embedded_broker(tmp_path: Path) -> None:
    result = run(tmp_path, SECONDS="8")
    said = result.stdout
    assert result.returncode == 0, said
    assert re.search(r"broker +ready on 127\.0\.0\.1:\d+", said)
    assert "keys       order kept for key customer-7: 1, 2, 3; overtaken by customer-8, customer-9" in said
    assert (
        "retries    job 1 of key customer-12 failed 2 times, its later jobs waited, and all ran in order: 1, 2, 3, 4;"
        " customer-13 did not wait"
    ) in said
    made = re.findall(r"retry +unsteady \S+  customer-12 +\d+ ms  .* again in 1\.5 s, attempts made: (\d)", said)
    assert made == ["1", "2"]
    assert re.search(r"delayed    a job that was due 2 s after its publication had run after [2-9]\.\d\d s", said)
    assert 'received "Your order is on its way" for ada@example.com' in said
    assert re.search(r"photo\.jpg 1600x1200 \(\d+ KiB\) became small\.webp 400x300 \(\d+ KiB\)", said)
    assert "job-error-type:    streams.jobs.support.errors.ReceiverGone" in said
    assert "answered 410 Gone: nobody subscribes to this any more" in said
    published = re.findall(r"published +\w+ +(\S+)", said)
    ended = re.findall(r"(?:done|dead) +\w+ +(\S+)  \S+ +\d+ ms", said)
    assert len(published) >= 10
    assert sorted(published) == sorted(ended)
    assert "\x1b" not in said
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "broker.log",
        "images",
        "kafka.log",
        "worker.log",
    }


def test_a_worker_that_cannot_start(tmp_path: Path, kafka: str, namespace: str) -> None:
    result = run(tmp_path, KAFKA_BOOTSTRAP_SERVERS=kafka, STREAMS_NAMESPACE=namespace, STREAMS_JOBS="nonexistent")
    assert result.returncode == 1, result.stdout
    assert "error: the worker ended (exit code 1)" in result.stdout
    assert "there is no module 'nonexistent' to import (STREAMS_JOBS)" in result.stdout


def test_ctrl_c_ends_it_in_order(tmp_path: Path, kafka: str, namespace: str) -> None:
    """And the commands that it suggests do work."""
    with running(tmp_path, KAFKA_BOOTSTRAP_SERVERS=kafka, STREAMS_NAMESPACE=namespace) as demo:
        said = read_until(demo, "A job every second; Ctrl-C to stop")
        settings = environment(KAFKA_BOOTSTRAP_SERVERS=kafka, STREAMS_NAMESPACE=namespace)
        assert f"export KAFKA_BOOTSTRAP_SERVERS={kafka} STREAMS_NAMESPACE={namespace}" in said
        program = textwrap.dedent(said.partition("<<'END'\n")[2].partition("    END\n")[0])
        told = subprocess.run([sys.executable, "-c", program], env=settings, stdout=subprocess.PIPE, check=True)
        job_id = told.stdout.decode().strip()
        assert re.search(rf"done +email +{job_id}  bob ", read_until(demo, job_id))

        started = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(signal.SIGINT)
        said = read_until(demo, "all that was started has ended")
        assert demo.wait(SECONDS) == 0, said
        assert not psutil.wait_procs(started, timeout=5)[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_before_the_examples_are_done(
    number: signal.Signals, tmp_path: Path, kafka: str, namespace: str
) -> None:
    with running(tmp_path, KAFKA_BOOTSTRAP_SERVERS=kafka, STREAMS_NAMESPACE=namespace) as demo:
        read_until(demo, "published")
        demo.send_signal(number)
        read_until(demo, "error: it was stopped before all examples were done")
        assert demo.wait(SECONDS) == 130


def test_a_worker_that_dies(tmp_path: Path, kafka: str, namespace: str) -> None:
    with running(tmp_path, KAFKA_BOOTSTRAP_SERVERS=kafka, STREAMS_NAMESPACE=namespace) as demo:
        read_until(demo, "published")
        (worker,) = (
            child for child in psutil.Process(demo.pid).children() if any("faust" in word for word in child.cmdline())
        )
        worker.kill()
        read_until(demo, "error: the worker ended (exit code -9); the end of")
        assert demo.wait(SECONDS) == 1


def test_what_a_killed_run_leaves_behind_does_not_hold_up_the_next(tmp_path: Path, kafka: str, namespace: str) -> None:
    """Its jobs are for servers that are gone, and fail until they expire."""
    with running(tmp_path, KAFKA_BOOTSTRAP_SERVERS=kafka, STREAMS_NAMESPACE=namespace) as demo:
        read_until(demo, "attempts made: 1")
        started = psutil.Process(demo.pid).children(recursive=True)
        demo.kill()
        psutil.wait_procs(started, timeout=SECONDS)
    result = run(tmp_path, KAFKA_BOOTSTRAP_SERVERS=kafka, STREAMS_NAMESPACE=namespace, SECONDS="1")
    assert result.returncode == 0, result.stdout
    assert "all ran in order: 1, 2, 3, 4" in result.stdout
