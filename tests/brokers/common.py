"""One broker for all processes of a test run: the first that needs it starts it, and stops it when no other uses it."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from tests.brokers.base import Broker, ExternalBroker


class ElsewhereBroker(ExternalBroker):
    """The common broker, as a process sees it that has not started it."""

    def last_words(self) -> str:
        return "it was started by another process of this run"


@contextmanager
def common_broker(directory: Path, make: Callable[[], Broker]) -> Iterator[Broker]:
    """A started broker, the same for all processes that name this directory.

    The kernel drops the locks of a process that dies, so nobody waits for one that is gone; the broker of a process
    that is killed goes down with it.
    """
    address = directory / "bootstrap"
    with (directory / "gate").open("w") as gate, (directory / "users").open("w") as users:
        with _locked(gate):
            broker = ElsewhereBroker(address.read_text()) if address.exists() else make()
            if not isinstance(broker, ElsewhereBroker):
                broker.start()
                address.write_text(broker.bootstrap)
            fcntl.flock(users, fcntl.LOCK_SH)
        with closing(broker):
            yield broker
            fcntl.flock(users, fcntl.LOCK_UN)
            if not isinstance(broker, ElsewhereBroker):
                with _locked(gate):  # Who comes now waits, and starts one of its own.
                    fcntl.flock(users, fcntl.LOCK_EX)
                    address.unlink()


@contextmanager
def _locked(file: IO[str]) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
