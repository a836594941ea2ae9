"""What a queue does around each run of its handlers: context managers, entered and left where the handler runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any

from streams.api.context import JobContext
from streams.errors import DefinitionError

#: Makes a run's context manager of its job and its context, as does a function under `contextlib.contextmanager`.
Around = Callable[[Any, JobContext], AbstractContextManager[Any] | AbstractAsyncContextManager[Any]]


def check_hooks(around: Around | Sequence[Around] | None) -> tuple[Around, ...]:
    """The hooks of a queue, the outermost first; raises DefinitionError for what cannot be one."""
    if around is None:
        return ()
    hooks = tuple(around) if isinstance(around, (list, tuple)) else (around,)
    for hook in hooks:
        _check(hook)
    return hooks


_EXAMPLE = "a function under contextlib.contextmanager (or asynccontextmanager) that takes the job and its context"


def _check(hook: Any) -> None:
    if not callable(hook):
        raise DefinitionError(f"around takes {_EXAMPLE}, not {hook!r}")
    name = name_of_hook(hook)
    if inspect.isgeneratorfunction(hook) or inspect.isasyncgenfunction(hook) or inspect.iscoroutinefunction(hook):
        wanted = "contextmanager" if inspect.isgeneratorfunction(hook) else "asynccontextmanager"
        raise DefinitionError(f"{name} makes no context manager yet: put @contextlib.{wanted} above it")
    try:
        inspect.signature(hook).bind(object(), object())
    except (TypeError, ValueError):
        raise DefinitionError(f"{name} cannot be called with a job and its context: around takes {_EXAMPLE}") from None


def only_async(hook: Around) -> bool:
    """Whether a hook is known to be for async handlers alone."""
    if isinstance(hook, type):
        return hasattr(hook, "__aenter__") and not hasattr(hook, "__enter__")
    return inspect.isasyncgenfunction(inspect.unwrap(hook))


def name_of_hook(hook: Any) -> str:
    """A hook's name, for people."""
    return f"{getattr(hook, '__module__', '?')}.{getattr(hook, '__qualname__', repr(hook))}"


def around_plain(hooks: Sequence[Around], handler: Callable[..., Any]) -> Callable[..., Any]:
    """A plain handler within its hooks."""
    for hook in reversed(hooks):
        handler = _plain(hook, handler)
    return handler


def around_async(hooks: Sequence[Around], handler: Callable[..., Any]) -> Callable[..., Any]:
    """An async handler within its hooks, of which each may be a plain context manager or an async one."""
    for hook in reversed(hooks):
        handler = _async(hook, handler)
    return handler


def _plain(hook: Around, handler: Callable[..., Any]) -> Callable[..., Any]:
    def run(payload: Any, ctx: JobContext) -> Any:
        with _Hook(hook, payload, ctx):
            return handler(payload, ctx)

    return run


def _async(hook: Around, handler: Callable[..., Any]) -> Callable[..., Any]:
    async def run(payload: Any, ctx: JobContext) -> Any:
        async with _Hook(hook, payload, ctx):
            return await handler(payload, ctx)

    return run


class _Hook:
    """A hook's context manager for one run. What it raises of its own bears its name."""

    __slots__ = ("_hook", "_is_async", "_manager", "_run")

    def __init__(self, hook: Around, payload: Any, ctx: JobContext) -> None:
        self._hook = hook
        self._run = payload, ctx
        self._manager: Any = None
        self._is_async = False

    def __enter__(self) -> None:
        try:
            self._make("__enter__")
            self._manager.__enter__()
        except BaseException as error:
            self._blame(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            suppresses: bool | None = self._manager.__exit__(kind, error, trace)
        except BaseException as raised:
            if raised is not error:
                self._blame(raised)
            raise
        return suppresses

    async def __aenter__(self) -> None:
        try:
            self._make("__aenter__", "__enter__")
            if self._is_async:
                await self._manager.__aenter__()
            else:
                self._manager.__enter__()
        except BaseException as error:
            self._blame(error)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if not self._is_async:
            return self.__exit__(kind, error, trace)
        try:
            suppresses: bool | None = await self._manager.__aexit__(kind, error, trace)
        except BaseException as raised:
            if raised is not error:
                self._blame(raised)
            raise
        return suppresses

    def _make(self, *ways: str) -> None:
        self._manager = self._hook(*self._run)
        if not any(hasattr(type(self._manager), way) for way in ways):
            raise DefinitionError(
                f"the hook returned {self._manager!r}, which cannot be entered around"
                f" {'an async' if len(ways) > 1 else 'a plain'} handler: return a context manager"
            )
        self._is_async = hasattr(type(self._manager), ways[0]) and len(ways) > 1

    def _blame(self, error: BaseException) -> None:
        note = f"raised by the hook {name_of_hook(self._hook)} around the run"
        if note not in getattr(error, "__notes__", ()):  # It may be one that is raised again and again.
            error.add_note(note)
