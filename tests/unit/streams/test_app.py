"""`streams.app`, which is made when it is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workers import ROOT

WRONG = {"STREAMS_CONCURRENCY": "many", "KAFKA_SECURITY_PROTOCOL": "TLS"}
FAUST = str(Path(sys.executable).with_name("faust"))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | WRONG | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_program_can_catch_why_it_cannot_be_made() -> None:
    program = """
from streams import SetupError
try:
    from streams import app
except SetupError as error:
    print(error)
"""
    done = run(sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert "STREAMS_CONCURRENCY='many': expected a whole number" in done.stdout


@pytest.mark.parametrize(
    "command", [(FAUST, "-A", "streams", "worker"), (sys.executable, "-m", "streams", "dead", "list", "email")]
)
def test_a_command_says_it_in_sentences(command: tuple[str, ...]) -> None:
    done = run(*command)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert any(line.startswith("error: STREAMS_CONCURRENCY='many'") for line in lines), done.stderr
    assert all(line.startswith("error: ") for line in lines), done.stderr
