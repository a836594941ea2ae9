"""A small disk of its own for a server's data, which can be filled. For Linux, and whoever may mount."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from pathlib import Path


class Disk:
    """A file system in memory, mounted on a directory."""

    def __init__(self, at: Path, megabytes: int) -> None:
        self._at = at
        self._filler = at / "filler"
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(at)], check=True)

    def fill(self) -> None:
        """Leave no room on it."""
        with self._filler.open("wb") as file:
            while room := os.statvfs(self._at).f_bavail * os.statvfs(self._at).f_frsize:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, room)
                except OSError as error:  # Somebody else has written meanwhile.
                    if error.errno != errno.ENOSPC:
                        raise

    def empty(self) -> None:
        """Have room again."""
        self._filler.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Give it up with all that is on it."""
        subprocess.run(["umount", str(self._at)], check=True)


def can_mount() -> bool:
    """Whether this machine lets us."""
    with tempfile.TemporaryDirectory() as directory:
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", directory]
        try:
            mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            return False
        if mounted:
            subprocess.run(["umount", directory], check=True)
        return mounted
