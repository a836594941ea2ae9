"""Programs that have modules of the same names as this project's packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THEIRS = "class User:\n    name: str\n"

#: What an installed `kafka-jobs` is.
SCRIPT = "from streams.__main__ import main\nmain()\n"


def run(directory: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a directory whose modules come first on Python's path, as in its own programs."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("as_package", [False, True])
@pytest.mark.parametrize(
    ("theirs", "command"),
    [
        ("schemas", ["-c", "import producers"]),
        ("schemas", ["-c", "import streams"]),
        ("producers", ["-c", "import streams"]),
        ("schemas", ["-m", "faust", "-A", "streams", "worker", "--help"]),
    ],
)
def test_it_is_said_what_hides_what(tmp_path: Path, theirs: str, command: list[str], as_package: bool) -> None:
    module = tmp_path / (f"{theirs}/__init__.py" if as_package else f"{theirs}.py")
    module.parent.mkdir(exist_ok=True)
    module.write_text(THEIRS)
    ended = run(tmp_path, *command)
    assert ended.returncode != 0
    last = ended.stderr.splitlines()[-1]
    assert f"{module} hides the package {theirs!r} that kafka-jobs brings" in last
    assert "give that module or package of yours another name" in last


def test_the_script_finds_its_own_packages_first(tmp_path: Path) -> None:
    """Whatever lies in the directory where it is started."""
    for theirs in ("streams", "schemas", "producers"):
        (tmp_path / f"{theirs}.py").write_text(THEIRS)
    script = tmp_path / "bin" / "kafka-jobs"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    ended = run(tmp_path, script, "worker", "--help")
    assert ended.returncode == 0, ended.stderr
    assert "it runs the jobs of its pool's queues" in ended.stdout
