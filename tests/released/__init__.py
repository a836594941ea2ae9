"""The version before this one, as it was released: for tests in which both serve one group.

`before.tar.xz` has the packages of commit 48e9f19 of this repository, but for the demonstration, and was made with

    git archive 48e9f19 streams schemas producers ':!streams/demo' | xz -9e > tests/released/before.tar.xz

An archive, since a clone need not have its history, and 200 kB are less than the test is worth. At each release it is
replaced by one of the release before, made likewise from its tag, and `BEFORE` with it: what stands in test_upgrade.py
must then hold between these two.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

#: The commit that the archive is of.
BEFORE = "48e9f19"

_ROOT = Path(__file__).resolve().parents[2]
_ARCHIVE = Path(__file__).with_name("before.tar.xz")


def unpack(directory: Path) -> Path:
    """Unpack the version before into an empty directory; returns where its packages lie."""
    with tarfile.open(_ARCHIVE, "r:xz") as archive:
        archive.extractall(directory, filter="data")
    return directory


def served_from(packages: Path) -> dict[str, str]:
    """The environment of a worker whose `streams`, `schemas` and `producers` are those in a directory."""
    return {"PYTHONPATH": os.pathsep.join((str(packages), str(_ROOT)))}


def note(directory: Path, module: str) -> None:
    """Note for `noted` where this process has its `streams` from."""
    (directory / f"streams-{os.getpid()}").write_text(module)


def noted(directory: Path, pid: int) -> str:
    """Where a process that has called `note` has its `streams` from."""
    return (directory / f"streams-{pid}").read_text()
