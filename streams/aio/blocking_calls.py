"""The worker's own calls that block: they have threads of their own, which no handler can use up.

Handlers share the event loop's default executor (`asyncio.to_thread`), and may fill it for minutes. A partition could
not be opened meanwhile, nor a follow-up be written. For the same reason a registry that hangs has other threads than
the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from streams.aio.thread_shortage import NO_THREAD, RETRY_AFTER, ThreadShortage

T = TypeVar("T")


class BlockingCalls:
    """Makes calls that block, in a few threads; calls beyond that wait. May serve several event loops."""

    def __init__(self, name: str, most: int) -> None:
        """Starts nothing yet.

        most  threads at once
        """
        self._name = name
        self._most = most
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._unfinished = 0
        self._shortage = ThreadShortage(f"the worker itself ({name})")

    async def run(self, call: Callable[..., T], /, *arguments: Any, **options: Any) -> T:
        """Make a call in a thread, and wait for it. Returns or raises what it does.

        Waits, too, where the system has no thread to give. When this is cancelled nobody waits for the call, and one
        that has not begun is not made.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        while not self._staff():  # noqa: ASYNC110 - nothing says when there are threads again
            await asyncio.sleep(RETRY_AFTER)
        self._calls.put(partial(self._make, loop, result, partial(call, *arguments, **options)))
        try:
            return await result
        finally:
            # It refers to what was raised, whose traceback refers to this frame.
            del result

    def _staff(self) -> bool:
        """Count one more call, and start a thread if it needs one. Returns False where there is no thread at all."""
        with self._lock:
            if self._unfinished >= self._threads and self._threads < self._most and not self._start():
                return False
            self._unfinished += 1
            return True

    def _start(self) -> bool:
        try:
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        except NO_THREAD as error:
            self._shortage.met(error, self._threads)
            return self._threads > 0
        self._threads += 1
        self._shortage.over()
        return True

    # -- in the threads -----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            self._calls.get()()

    def _make(self, loop: asyncio.AbstractEventLoop, result: asyncio.Future[T], call: Callable[[], T]) -> None:
        ended = None if result.cancelled() else _outcome(call)
        with self._lock:
            self._unfinished -= 1
        if ended is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(_set_result, result, *ended)
        # What was raised refers to its frames, and this one with them.
        del result, ended


def _outcome(call: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    try:
        return call(), None
    except StopIteration as error:  # No future takes it.
        return None, RuntimeError(f"{call} raised {error!r}")
    except BaseException as error:
        return None, error


def _set_result(result: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if result.done():
        return
    if error is None:
        result.set_result(value)
    else:
        result.set_exception(error)


#: For what is asked of the cluster.
KAFKA = BlockingCalls("kafka-call", 8)

#: For what may ask a schema registry.
REGISTRY = BlockingCalls("registry-call", 8)
