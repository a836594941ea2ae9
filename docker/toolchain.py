"""Java, Maven and the jars of a build file: what a server on a local JVM needs before it can start.

`python docker/toolchain.py docker/broker/pom.xml` resolves the jars and prints the directory that holds them.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JAVA_NEEDED = 17
# The goal's full name: the prefix "dependency:" would be looked up over the network.
COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies"
DOCKER_WAY = (
    "Or run Kafka in Docker instead: docker compose -f docker/compose.yaml up -d kafka,\n"
    "and set KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092."
)


class ToolMissing(Exception):
    """A program that the JVM servers need is not installed, too old or failed. The message names the remedy."""


def note(text: str) -> None:
    """Tell the person at the terminal; stdout stays free for results."""
    print(text, file=sys.stderr, flush=True)


def find_java() -> str:
    """The path of a Java 17 or newer. JAVA_HOME wins over PATH."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")
    where = f"in JAVA_HOME={home}" if home else "on PATH"
    if java is None:
        raise ToolMissing(_install("Java", f"no java was found {where}"))
    version = _java_version(java)
    if version is None or version < JAVA_NEEDED:
        raise ToolMissing(_install("Java", f"{java} is version {version or 'unknown'}, {JAVA_NEEDED} is needed"))
    return java


def _java_version(java: str) -> int | None:
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', told)
    return int(found.group(1)) if found else None


def _install(tool: str, reason: str) -> str:
    return (
        f"{tool} is missing: {reason}.\n"
        f"Install Java {JAVA_NEEDED} or newer and Maven (Debian, Ubuntu: apt install openjdk-17-jre-headless maven;\n"
        f"macOS: brew install openjdk maven).\n{DOCKER_WAY}"
    )


def resolve_jars(pom: Path) -> Path:
    """The directory with all jars of a build file. Maven runs only when the build file has changed."""
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    jars = ROOT / "build" / "jars" / f"{pom.parent.name}-{digest}"
    if not jars.is_dir():
        _copy_with_maven(pom, jars)
    return jars


def _copy_with_maven(pom: Path, jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ToolMissing(_install("Maven", "no mvn was found on PATH"))
    note(f"Resolving the jars of {pom.relative_to(ROOT)} with Maven (once) ...")
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix=".resolving-") as scratch:
        copied = Path(scratch, "jars")
        _run_maven([maven, "-B", "-f", str(pom), COPY_GOAL, "-DincludeScope=runtime", f"-DoutputDirectory={copied}"])
        # Whole or not at all; another process that came first has made the same directory.
        with suppress(OSError):
            copied.rename(jars)
    note(f"{len(list(jars.glob('*.jar')))} jars are in {jars.relative_to(ROOT)}")


def _run_maven(command: list[str]) -> None:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as maven:
        assert maven.stdout is not None  # noqa: S101
        said = list(_showing_downloads(maven.stdout))
    if maven.returncode != 0:
        errors = "".join(line for line in said if "ERROR" in line) or "".join(said[-20:])
        raise ToolMissing(f"Maven could not resolve the jars. Is its repository reachable?\n{errors}\n{DOCKER_WAY}")


def _showing_downloads(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if (done := re.search(r"Downloaded from .*/([^/ ]+\.jar) \((.+?) at", line)) is not None:
            note(f"  {done.group(1)} ({done.group(2)})")
        yield line


if __name__ == "__main__":
    try:
        print(resolve_jars(Path(sys.argv[1]).resolve()))
    except ToolMissing as missing:
        sys.exit(f"error: {missing}")
