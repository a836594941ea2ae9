"""How one run of a job ended, as values."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The handler returned."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The job cannot be done: why, in words for the dead letter."""

    error_type: str
    message: str
    stack: str

    @classmethod
    def of(cls, error: BaseException, *, stack_from: TracebackType | None = None) -> Failed:
        """Describe an exception; `stack_from` leaves out the frames above it, which are the worker's own."""
        frames = stack_from or error.__traceback__
        stack = "".join(traceback.format_exception(type(error), error, frames))
        return cls(name_of(type(error)), _message(error), stack)


SUCCEEDED = Succeeded()


def _message(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__ or "an exception without a name or a message"
    except Exception:
        return f"{type(error).__name__} (it cannot be shown as text)"


def name_of(error_type: type[BaseException]) -> str:
    """The name of an exception's type, with its module unless it is built in."""
    module = error_type.__module__
    return error_type.__qualname__ if module == "builtins" else f"{module}.{error_type.__qualname__}"
