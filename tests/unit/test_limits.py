"""A limit keeps a process from getting more, and ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.limits import Limit, can_limit, limit

#: Does one more of each when it is asked to, and says how that went.
_PROGRAM = """
import sys, threading
kept, enough = [], threading.Event()
def one_more(what):
    if what == "threads":
        thread = threading.Thread(target=enough.wait, daemon=True)
        thread.start()
    else:
        kept.append(open("/dev/null") if what == "descriptors" else bytearray(64_000_000))
for line in sys.stdin:
    try:
        for _ in range(3):
            one_more(line.strip())
    except (OSError, RuntimeError, MemoryError):
        print("no", flush=True)
    else:
        print("yes", flush=True)
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("what", Limit)
def test_nothing_more_until_the_end_of_a_limit(process: subprocess.Popen[str], what: Limit) -> None:
    if not can_limit(what):
        pytest.skip(f"{what.value} of another process cannot be limited here")

    def one_more() -> str:
        assert process.stdin is not None and process.stdout is not None
        print(what.value, file=process.stdin, flush=True)
        return process.stdout.readline().strip()

    assert one_more() == "yes"
    unlimited = limit(what, process.pid)
    assert one_more() == "no"
    unlimited()
    assert one_more() == "yes"
