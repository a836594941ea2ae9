"""What a handler must not hand back: work that has not been done, and that nobody would wait for."""

from __future__ import annotations

import inspect
from concurrent.futures import Future
from typing import Any

from streams.errors import DefinitionError


def refuse_unfinished(result: Any) -> None:
    """Raise DefinitionError if what a handler returned is an awaitable, a generator or a future."""
    if result is None:
        return
    kind = _kind_of(result)
    if kind is None:
        return
    if inspect.iscoroutine(result) or inspect.isgenerator(result):
        result.close()  # Else the interpreter warns of it, and names no job.
    raise DefinitionError(f"the handler returned {kind}, so its work was not done: {_REMEDIES[kind]}")


_REMEDIES = {
    "an awaitable": "declare it `async def`, and `await` within it whatever it starts",
    "a generator": "a handler does all its work before it returns, and does not `yield`",
    "a future": "wait for it within the handler, as by `.result()`",
}


def _kind_of(result: Any) -> str | None:
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        return "a generator"
    if isinstance(result, Future):
        return "a future"
    return "an awaitable" if inspect.isawaitable(result) else None
