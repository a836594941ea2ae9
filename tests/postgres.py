"""A PostgreSQL server of a test's own, of the system's programs; root on Debian installs them where they lack."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.waiting import until

START_SECONDS = 60.0

#: Where Debian's package leaves the server's programs.
_DEBIAN = Path("/usr/lib/postgresql")
#: Debian's package would start a server of its own, which nobody needs.
_NO_CLUSTER = Path("/etc/postgresql-common/createcluster.conf")


@contextmanager
def postgres() -> Iterator[str]:
    """A running server; its parameters for a connection to the database `postgres`. It is gone afterwards."""
    programs = _programs()
    # Reached through a socket in its directory: so there is no port that another may take. It refuses to run as root.
    directory = Path(tempfile.mkdtemp(prefix="postgres-"))
    user = _user()
    try:
        if user is not None:
            shutil.chown(directory, user, pwd.getpwnam(user).pw_gid)
        with _running(programs, directory, user):
            yield f"host={directory} user=postgres dbname=postgres"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _running(programs: Path, directory: Path, user: str | None) -> Iterator[None]:
    data, log = directory / "data", directory / "log"

    def command(program: str, *arguments: str) -> list[str]:
        return [str(programs / program), *arguments]

    initdb = command("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
    subprocess.run(initdb, check=True, capture_output=True, cwd=directory, user=user)
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={directory}", "-c", "fsync=off"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command("postgres", "-D", str(data), *options), stdout=output, stderr=output, cwd=directory, user=user
        )
    try:
        until(
            lambda: server.poll() is not None or _answers(directory),
            within=START_SECONDS,
            what=lambda: f"PostgreSQL answers:\n{log.read_text()}",
        )
        assert server.poll() is None, f"PostgreSQL has ended:\n{log.read_text()}"
        yield
    finally:
        server.send_signal(3)  # SIGQUIT: at once, whoever is connected.
        server.wait(START_SECONDS)


def _answers(directory: Path) -> bool:
    try:
        psycopg.connect(host=str(directory), user="postgres", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _programs() -> Path:
    found = _found()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
        found = _found()
    if found is None:
        pytest.skip("no PostgreSQL server is installed, and only root on Debian can do that here")
    return found


def _found() -> Path | None:
    beside = shutil.which("postgres")
    if beside:
        return Path(beside).parent
    versions = sorted(_DEBIAN.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


def _install() -> None:
    if not _NO_CLUSTER.exists():
        _NO_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
        _NO_CLUSTER.write_text("create_main_cluster = false\n")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", "postgresql"]):
        subprocess.run(["apt-get", "-q", *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)


def _user() -> str | None:
    """Who the server is to be; None for who the tests are."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
