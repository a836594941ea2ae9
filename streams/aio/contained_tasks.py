"""Tasks of the worker's loop, none of which ends it by calling exit()."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from streams.errors import HandlerExited

T = TypeVar("T")


def contain_exits(loop: asyncio.AbstractEventLoop) -> None:
    """Have tasks that call exit() fail with HandlerExited.

    asyncio lets SystemExit and KeyboardInterrupt out of any task through the loop, which ends: a handler whose sub-task
    calls exit() would end the worker, and all other jobs' runs with it, without a word.
    """
    factory: Any = _contained
    loop.set_task_factory(factory)


def _contained(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
    return asyncio.Task(_Contained(coroutine), loop=loop, **options)


class _Contained(Coroutine[Any, Any, T]):
    """A coroutine out of which no exit() comes.

    It is no `async def` around the other: that would leave the other unstarted, with a warning, where a task is
    cancelled before its first step.
    """

    __slots__ = ("_inner",)

    def __init__(self, inner: Coroutine[Any, Any, T]) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        # What asyncio asks of a coroutine to show where it stands.
        return getattr(self._inner, name)

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            raise _failure(error) from error

    def throw(self, *raised: Any) -> Any:
        try:
            return self._inner.throw(*raised)
        except (SystemExit, KeyboardInterrupt) as error:
            raise _failure(error) from error

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._inner.__await__()


def _failure(error: BaseException) -> HandlerExited:
    return HandlerExited(f"a task raised {error!r}, which would have ended the worker")
