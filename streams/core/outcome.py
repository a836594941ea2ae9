"""How one run of a job ended, as values."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from types import TracebackType
from typing import Any

from streams.core.backoff import to_seconds


class ComesBack(Exception):
    """Base of the exceptions by which a handler says when its job is to run again.

    in_      seconds from now, or a timedelta
    reason   for people

    Raises PolicyInvalid, which is a ValueError, for a time that a job cannot wait.
    """

    #: Whether the run counts as an attempt.
    counted = True

    def __init__(self, in_: float | timedelta, reason: str = "") -> None:
        name = type(self).__name__
        self.in_ = to_seconds(f"{name}: in_", in_)
        if not isinstance(reason, str):
            raise TypeError(f"{name}: reason must be text, not {reason!r}")
        self.reason = reason
        super().__init__(reason or f"{name} in {self.in_:g} s")

    def __reduce__(self) -> tuple[type[ComesBack], tuple[float, str]]:
        return type(self), (self.in_, self.reason)


@dataclass(frozen=True, slots=True)
class Failed:
    """The job was not done: why, in words for the dead letter, and what decides whether it is tried again.

    All of it is plain data, since the run may have been another process's.
    """

    error_type: str
    message: str
    #: The traceback as text. Only dead letters carry it, so it is left empty until one is to be written.
    stack: str = ""
    #: Names of the exception's type and of what it derives from, most special first.
    kinds: tuple[str, ...] = ()
    #: Seconds until the handler wants it to run again; None if it did not say.
    retry_in: float | None = None
    #: Whether it comes back without having counted as an attempt.
    snooze: bool = False
    #: Of an exception group: the kinds of each failure in it, however deep, but for those that say when it comes back.
    parts: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> Failed:
        """Describe an exception, but for its stack."""
        kind = type(error)
        if isinstance(error, BaseExceptionGroup):
            return cls._of_group(error)
        retry_in, snooze = _told(error)
        return cls(name_of(kind), _message(error), kinds=kinds_of(kind), retry_in=retry_in, snooze=snooze)

    @classmethod
    def _of_group(cls, group: BaseExceptionGroup) -> Failed:
        """Describe an exception group: what is in it decides, and the most severe wins.

        A failure that is never retried wins over one that is, that one over Retry, and Retry over Snooze. Of several
        times at which the job is wanted back the last one counts.
        """
        inner = _leaves(group)
        told = [_told(each) for each in inner]
        waits = [retry_in for retry_in, _ in told if retry_in is not None]
        failures = [each for each, (retry_in, _) in zip(inner, told, strict=True) if retry_in is None]
        return cls(
            name_of(type(group)),
            f"{_message(group)}: {_list(inner)}",
            kinds=kinds_of(type(group)),
            retry_in=None if failures else max(waits),
            snooze=not failures and all(snooze for _, snooze in told),
            parts=tuple(dict.fromkeys(kinds_of(type(each)) for each in failures)),
        )

    def with_stack(self, error: BaseException, *, stack_from: TracebackType | None = None) -> Failed:
        """The same with the exception's stack, which takes longer to format than all else that a retry needs.

        stack_from  leaves out the frames above it, which are the worker's own
        """
        frames = stack_from or error.__traceback__
        try:
            stack = "".join(traceback.format_exception(type(error), error, frames))
        except BaseException as why:  # As of a SyntaxError with odd arguments, or whatever a user's class does.
            stack = (
                f"{''.join(traceback.format_tb(frames))}{self.error_type} (no more of it can be shown:"
                f" {type(why).__name__})\n"
            )
        return replace(self, stack=stack)


#: How many of a group's exceptions its message names, and how much of what each says.
_MOST_NAMED = 5
_MOST_SAID = 200


def _leaves(group: BaseExceptionGroup) -> list[BaseException]:
    """The exceptions in a group and in the groups within it, in their order."""
    found: list[BaseException] = []
    left: list[BaseException] = [group]
    while left:
        error = left.pop()
        if isinstance(error, BaseExceptionGroup):
            # Past what a subclass may have made of it.
            left.extend(reversed(BaseExceptionGroup.exceptions.__get__(error)))
        else:
            found.append(error)
    return found


def _list(errors: list[BaseException]) -> str:
    """What a group holds, for people: what each is and the first line of what it says, once."""
    lines = dict.fromkeys(
        f"{name_of(type(each))}: {(_message(each).splitlines() or [''])[0][:_MOST_SAID]}" for each in errors
    )
    named = "; ".join([*lines][:_MOST_NAMED])
    return named if len(lines) <= _MOST_NAMED else f"{named}; and {len(lines) - _MOST_NAMED} others"


def _told(error: BaseException) -> tuple[float | None, bool]:
    """When a handler wants its job back, and whether its run was no attempt.

    A user's subclass may have failed to say when; then it is a failure like any other.
    """
    if not isinstance(error, ComesBack):
        return None, False
    try:
        return to_seconds("in_", error.in_), not error.counted
    except BaseException:
        return None, False


def _message(error: BaseException) -> str:
    try:
        said = str(error) or type(error).__name__ or "an exception without a name or a message"
        notes: Any = getattr(error, "__notes__", ())
        return f"{said} ({'; '.join(notes)})" if notes else said
    except BaseException:  # It is a user's code, and may even have called exit().
        return f"{type(error).__name__} (it cannot be shown as text)"


def name_of(error_type: type) -> str:
    """The name of an exception's type, with its module unless it is built in."""
    module = error_type.__module__
    return error_type.__qualname__ if module == "builtins" else f"{module}.{error_type.__qualname__}"


def kinds_of(error_type: type[BaseException]) -> tuple[str, ...]:
    """The names of an exception's type and of all that it derives from, most special first."""
    kind: Any = error_type
    return _kinds_of(kind)


@lru_cache(maxsize=256)
def _kinds_of(error_type: Any) -> tuple[str, ...]:
    return tuple(name_of(each) for each in error_type.__mro__ if each is not object)
