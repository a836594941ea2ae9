"""Free TCP ports on the loopback address. `python docker/ports.py` prints one."""

from __future__ import annotations

import random
import socket

HOST = "127.0.0.1"
# Below the range that kernels give to outgoing connections (32768 up on Linux): a client that keeps trying to reach
# a stopped server on a port of that range can end up connected to itself, and then holds the port.
RANGE = range(20_000, 32_000)


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
    """A port that nobody listens on, and another one than `but`. Raises OSError when none is found."""
    for port in random.sample(RANGE, k=200):
        if port != but and is_free(port):
            return port
    raise OSError(f"no free port on {HOST} between {RANGE.start} and {RANGE.stop}")


if __name__ == "__main__":
    print(free_port())
