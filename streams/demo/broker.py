"""The broker of the demonstration: the one in KAFKA_BOOTSTRAP_SERVERS, or an embedded one."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from streams.demo.child import Child
from streams.demo.errors import DemoFailed
from streams.demo.screen import Screen

_SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "broker.py"
_ANNOUNCEMENT = "KAFKA_BOOTSTRAP_SERVERS="
_STOP_SECONDS = 40.0


@asynccontextmanager
async def broker(screen: Screen, runs: Path, data: Path | None) -> AsyncIterator[str]:
    """Run a broker unless the environment names one; gives its address. Raises DemoFailed when it does not start."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        screen.fact("broker", f"{given} (KAFKA_BOOTSTRAP_SERVERS)")
        yield given
        return
    screen.fact("broker", "starting an embedded Kafka; the first time its jars are downloaded ...")
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    child = await _start(screen, runs, data, address)
    try:
        bootstrap = await _address(child, address)
        screen.fact("broker", f"ready on {bootstrap}  (log: {child.log})")
        yield bootstrap
    finally:
        await child.stop(_STOP_SECONDS)


async def _start(screen: Screen, runs: Path, data: Path | None, address: asyncio.Future[str]) -> Child:
    if not _SCRIPT.exists():
        raise DemoFailed(f"there is no {_SCRIPT} to start Kafka with: set KAFKA_BOOTSTRAP_SERVERS")

    def listen(line: str) -> None:
        if address.done():
            return
        if line.startswith(_ANNOUNCEMENT):
            address.set_result(line.removeprefix(_ANNOUNCEMENT))
        else:
            screen.note(line)

    command: list[str | Path] = [sys.executable, _SCRIPT, "--log", runs / "kafka.log"]
    command += [] if data is None else ["--data", data]
    return await Child.start(command, log=runs / "broker.log", listener=listen, env=os.environ)


async def _address(child: Child, address: asyncio.Future[str]) -> str:
    ended = asyncio.ensure_future(child.ended())
    waits: list[asyncio.Future[Any]] = [address, ended]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    if address.done():
        ended.cancel()
        return address.result()
    raise DemoFailed(f"the broker did not start (exit code {ended.result()}):\n{child.tail()}")
