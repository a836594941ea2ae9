"""Programs go on where their output lacks a character, or is closed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = "from schemas.generator.output import show_anything; show_anything(); print('\u0192 \u20ac \U0001f600')"


def run(program: str, **variables: str) -> bytes:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        ["sh", "-c", program], cwd=ROOT, env=environment, stdout=subprocess.PIPE, timeout=60, check=True
    ).stdout


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", rb"\u0192 \u20ac \U0001f600"),
        ("cp1252", b"\x83 \x80 \\U0001f600"),
        ("utf-8", "\u0192 \u20ac \U0001f600".encode()),
    ],
)
def test_what_an_encoding_lacks_is_escaped(encoding: str, shown: bytes) -> None:
    assert run(f'"{sys.executable}" -c "{PROGRAM}"', PYTHONIOENCODING=encoding).strip() == shown


def test_what_is_printed_to_a_closed_output_is_dropped() -> None:
    command = f'"{sys.executable}" -c "{PROGRAM}; import sys; sys.stdout.isatty(); sys.stderr.write(chr(10))" >&- 2>&-'
    assert run(command) == b""


def test_the_generator_says_what_it_does() -> None:
    """Its own --check, of a directory whose name the output lacks."""
    command = f'"{sys.executable}" -m schemas.generate --check --schemas schemas/jobs --models /nowhere/\u20ac || true'
    assert rb"/nowhere/\u20ac" in run(command, PYTHONIOENCODING="ascii")
