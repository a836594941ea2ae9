"""The command line itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = str(Path(sys.executable).with_name("kafka-jobs"))


@pytest.mark.parametrize(
    ("typed", "named"), [([SCRIPT], "kafka-jobs"), ([sys.executable, "-m", "streams"], "python -m streams")]
)
def test_help_names_what_was_typed(typed: list[str], named: str) -> None:
    shown = subprocess.run([*typed, "dead", "--help"], capture_output=True, text=True, check=True).stdout
    assert shown.startswith(f"Usage: {named} dead")
