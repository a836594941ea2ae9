"""The first error of many tasks and callbacks, for the one who waits for it."""

from __future__ import annotations

from streams.aio.wait_list import WaitList


class FirstError:
    """Keeps the first error that anybody reports. Owned by the event loop.

    The parts of a worker report what ends it, and its process waits for that.
    """

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._waiting = WaitList()

    def report(self, error: BaseException) -> None:
        """Note an error; those after the first are dropped."""
        if self._error is None:
            self._error = error
            self._waiting.wake_all()

    async def wait(self) -> BaseException:
        """Returns the first error, once there is one."""
        while self._error is None:
            await self._waiting.wait()
        return self._error
