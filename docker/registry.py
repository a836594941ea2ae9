"""A schema registry in a local JVM, for development and tests: Apicurio Registry, which speaks Confluent's API.

`python docker/registry.py` prints SCHEMA_REGISTRY_URL=... on stdout once it answers; everything else goes to stderr and
the registry's own log to a file. It runs until Ctrl-C, SIGTERM or the end of the process that started it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import FrameType

from jvm import Jvm
from ports import HOST, free_port, is_free
from toolchain import ROOT, ToolMissing, find_java, resolve_jars

API = "/apis/ccompat/v7"
START_SECONDS = 90.0


class StartFailed(Exception):
    """The registry cannot run. The message names the remedy."""


def unpacked() -> Path:
    """The directory with the application, out of the archive that Maven brings."""
    archives = resolve_jars(ROOT / "docker" / "registry" / "pom.xml")
    application = archives / "application"
    if not application.is_dir():
        (archive,) = archives.glob("*.tar.gz")
        with tempfile.TemporaryDirectory(dir=archives, prefix=".unpacking-") as scratch:
            with tarfile.open(archive) as packed:
                packed.extractall(scratch, filter="data")
            # Whole or not at all; another process that came first has made the same directory.
            with suppress(OSError):
                Path(scratch).rename(application)
            Path(scratch).mkdir(exist_ok=True)
    return application


def command(port: int, data: Path) -> list[str]:
    """How the JVM is started; what it stores survives in the data directory."""
    (runner,) = unpacked().glob("*-runner.jar")
    return [
        find_java(),
        "-Xmx256m",
        f"-Dquarkus.http.host={HOST}",
        f"-Dquarkus.http.port={port}",
        f"-DREGISTRY_DATASOURCE_URL=jdbc:h2:file:{data / 'registry'}",
        "-jar",
        str(runner),
    ]


def await_answer(jvm: Jvm, url: str, parent: int) -> None:
    """Return when the registry answers."""
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        if jvm.wait(0.1) is not None:
            raise StartFailed(f"the registry ended while starting:\n{jvm.last_words()}")
        if os.getppid() != parent:
            raise SystemExit(0)
        with suppress(OSError), urllib.request.urlopen(f"{url}/subjects", timeout=2):  # noqa: S310
            return
    raise StartFailed(f"the registry did not answer within {START_SECONDS:.0f} s:\n{jvm.last_words()}")


def run(port: int, data: Path, parent: int) -> None:
    """Start the registry, say where it is, and stay until told to stop or until it ends by itself."""
    data.mkdir(parents=True, exist_ok=True)
    # Others who work on this machine are to read none of it.
    data.chmod(0o700)
    url = f"http://{HOST}:{port}{API}"
    jvm = Jvm(command(port, data), data / "registry.log")
    try:
        (data / "registry.json").write_text(json.dumps({"jvm": jvm.pid}))
        await_answer(jvm, url, parent)
        print(f"SCHEMA_REGISTRY_URL={url}", flush=True)
        while os.getppid() == parent:
            if (code := jvm.wait(0.5)) is not None:
                raise StartFailed(f"the registry ended with code {code}:\n{jvm.last_words()}")
    finally:
        jvm.stop()


def _stop_once(number: int, _frame: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(0)


def main() -> None:
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop_once)
    parser = argparse.ArgumentParser(description="Apicurio Registry in a local JVM.")
    parser.add_argument(
        "--data", type=Path, default=ROOT / ".data" / "registry", help="kept between runs (%(default)s)"
    )
    parser.add_argument("--port", type=int, default=8081, help="0: a free port (%(default)s)")
    options = parser.parse_args()
    if options.port and not is_free(options.port):
        sys.exit(
            f"error: port {options.port} is taken; stop what uses it, or choose another with --port (0: a free one)"
        )
    try:
        run(options.port or free_port(), options.data.resolve(), parent)
    except (StartFailed, ToolMissing) as failure:
        sys.exit(f"error: {failure}")


if __name__ == "__main__":
    main()
