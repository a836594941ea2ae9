"""Tasks that call exit()."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys

import pytest

from streams.aio.contained_tasks import contain_exits
from streams.errors import HandlerExited


async def leave(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_task_that_calls_exit_fails_and_the_loop_goes_on(error: BaseException) -> None:
    async def main() -> None:
        contain_exits(asyncio.get_running_loop())
        with pytest.raises(HandlerExited, match=type(error).__name__) as raised:
            await asyncio.gather(leave(error), asyncio.sleep(0.01))
        assert raised.value.__cause__ is error
        await asyncio.sleep(0)

    asyncio.run(main())


EXITS = """
import asyncio, sys

async def main():
    await asyncio.gather(leave(), asyncio.sleep(0.01))

async def leave():
    sys.exit(3)

asyncio.run(main())
"""


def test_without_it_the_process_ends() -> None:
    ended = subprocess.run([sys.executable, "-c", EXITS], check=False, capture_output=True, timeout=30)
    assert ended.returncode == 3


def test_tasks_are_otherwise_what_they_were() -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    async def fail() -> None:
        raise ValueError("as ever")

    async def main() -> None:
        contain_exits(asyncio.get_running_loop())
        assert await asyncio.create_task(double(21), name="named") == 42
        named = asyncio.create_task(double(1), name="named")
        assert named.get_name() == "named"
        named.cancel()
        with pytest.raises(asyncio.CancelledError):
            await named
        with pytest.raises(ValueError, match="as ever"):
            await asyncio.ensure_future(fail())
        there = contextvars.copy_context()
        there.run(COLOUR.set, "red")
        assert await asyncio.get_running_loop().create_task(tell(), context=there) == "red"

    async def tell() -> str:
        return COLOUR.get()

    asyncio.run(main())


COLOUR = contextvars.ContextVar("colour", default="none")
