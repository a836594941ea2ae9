"""A call that blocks, for which nobody waits once its caller is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any


async def abandonable(work: Callable[..., None], *arguments: Any) -> None:
    """Make a call that blocks, in a thread. Raises what it raises.

    When this is cancelled nobody waits for the thread, not even the end of the process.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def set_result(error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def run() -> None:
        error = None
        try:
            work(*arguments)
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(set_result, error)

    threading.Thread(target=run, name=work.__name__, daemon=True).start()
    await ended
