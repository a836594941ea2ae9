"""Free TCP ports on the loopback address. `python docker/ports.py` prints one."""

from __future__ import annotations

import fcntl
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"
# Below the range that kernels give to outgoing connections (32768 up on Linux): a client that keeps trying to reach
# a stopped server on a port of that range can end up connected to itself, and then holds the port.
RANGE = range(20_000, 32_000)

#: Where it is noted which ports were given out, and for how long they are not given out again.
NOTES = Path(__file__).resolve().parents[1] / "build" / "ports"
KEPT_SECONDS = 120.0


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        # As servers do: the remains of closed connections do not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(but: int = 0) -> int:
    """A port that nobody listens on, and another one than `but`. Raises OSError when none is found.

    For two minutes nobody who asks in this project is given it again: whoever has it needs some seconds to listen.
    """
    with _given_out() as recent:
        for port in random.sample(RANGE, k=min(200, len(RANGE))):
            if port != but and port not in recent and is_free(port):
                recent[port] = time.time()
                return port
    raise OSError(f"no free port on {HOST} between {RANGE.start} and {RANGE.stop}")


@contextmanager
def _given_out() -> Iterator[dict[int, float]]:
    """The ports that were given out of late, and when; what is added is kept for all other processes."""
    NOTES.parent.mkdir(parents=True, exist_ok=True)
    with NOTES.open("a+") as notes:
        fcntl.flock(notes, fcntl.LOCK_EX)
        notes.seek(0)
        lines = (line.split() for line in notes)
        recent = {int(port): float(at) for port, at in lines if float(at) > time.time() - KEPT_SECONDS}
        yield recent
        notes.truncate(0)
        notes.write("".join(f"{port} {at}\n" for port, at in recent.items()))


if __name__ == "__main__":
    print(free_port())
