"""A data directory belongs to one broker at a time."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from pathlib import Path

HANDOVER_SECONDS = 10.0


class DirectoryInUse(Exception):
    """Another broker runs on this data. The message says where, and how to go on."""


def claim(data: Path) -> int:
    """Lock a data directory for one broker; returns the open lock. Raises DirectoryInUse when another one has it."""
    data.mkdir(parents=True, exist_ok=True)
    lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    give_up = time.monotonic() + HANDOVER_SECONDS
    while not _locked(lock):
        owner = _owner(data)
        # An owner that is gone leaves a JVM that is on its way out.
        if _alive(owner.get("pid")) or time.monotonic() > give_up:
            raise DirectoryInUse(_in_use(data, owner.get("bootstrap", "an unknown port")))
        time.sleep(0.05)
    return lock


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_use(data: Path, bootstrap: str) -> str:
    return (
        f"a broker with the data in {data} is already running on {bootstrap}.\n"
        f"Use it (KAFKA_BOOTSTRAP_SERVERS={bootstrap}), stop it, or start another one with --data DIR or --ephemeral."
    )


def _owner(data: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        return {name: str(value) for name, value in json.loads((data / "broker.json").read_text()).items()}
    return {}


def _alive(pid: str | None) -> bool:
    try:
        os.kill(int(pid or ""), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def sign(data: Path, jvm: int, bootstrap: str) -> None:
    """Leave word of who runs here, for the next one and for tests."""
    (data / "broker.json").write_text(json.dumps({"pid": os.getpid(), "jvm": jvm, "bootstrap": bootstrap}))
