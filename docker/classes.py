"""The JVM's archive of loaded classes: with it a server starts in a third of the time and of the processor's work.

Dynamic class data sharing (JEP 350): a JVM that is asked to writes what it has loaded to a file when it ends, and later
ones map that file instead of loading and verifying thousands of classes. One that does not fit is ignored by the JVM.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def archive_of(java: str, jars: Path) -> Path:
    """Where the archive of these jars is for this very JVM."""
    told = subprocess.run([java, "-version"], capture_output=True, check=False).stderr
    return jars / f"classes-{hashlib.sha256(told).hexdigest()[:12]}.jsa"


def use(archive: Path) -> list[str]:
    """Options for a JVM that takes its classes from the archive, if there is one."""
    return [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []


@contextmanager
def made_by(archive: Path) -> Iterator[list[str]]:
    """Options for a JVM that runs within this block, which makes the archive as it ends if there is none."""
    if archive.exists() or not os.access(archive.parent, os.W_OK):
        yield use(archive)
        return
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".archiving-") as scratch:
        made = Path(scratch, archive.name)
        try:
            yield [f"-XX:ArchiveClassesAtExit={made}", "-Xlog:cds=off"]
        finally:
            if made.exists():  # A JVM that was killed has made none.
                made.replace(archive)
