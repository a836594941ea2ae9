"""How one run of a job ended, as values."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeGuard, TypeVar

from streams.core.retry.backoff import to_seconds

E = TypeVar("E", bound=BaseException)


class NeverRetried(Exception):
    """Marks exceptions that no policy retries: a class that derives from it directly is named in the dead letter."""


class RequeueRequest(Exception):
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

    def __reduce__(self) -> tuple[type[RequeueRequest], tuple[float, str]]:
        return type(self), (self.in_, self.reason)


@dataclass(frozen=True, slots=True)
class Failure:
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
    def of(cls, error: BaseException) -> Failure:
        """Describe an exception, but for its stack. Raises nothing, whatever the exception's class does."""
        kind = type(error)
        if is_a(error, BaseExceptionGroup):
            return cls._of_group(error)
        retry_in, snooze = _requested(error)
        return cls(name_of(kind), _message(error), kinds=kinds_of(kind), retry_in=retry_in, snooze=snooze)

    @classmethod
    def _of_group(cls, group: BaseExceptionGroup) -> Failure:
        """Describe an exception group: what is in it decides, and the most severe wins.

        A failure that is never retried wins over one that is, that one over Retry, and Retry over Snooze. Of several
        times at which the job is wanted back the last one counts.
        """
        inner = _leaves(group)
        requests = [_requested(each) for each in inner]
        waits = [retry_in for retry_in, _ in requests if retry_in is not None]
        failures = [each for each, (retry_in, _) in zip(inner, requests, strict=True) if retry_in is None]
        return cls(
            name_of(type(group)),
            f"{_message(group)}: {_list(inner)}",
            kinds=kinds_of(type(group)),
            retry_in=None if failures else max(waits),
            snooze=not failures and all(snooze for _, snooze in requests),
            parts=tuple(dict.fromkeys(kinds_of(type(each)) for each in failures)),
        )

    def with_stack(self, error: BaseException, *, stack_from: TracebackType | None = None) -> Failure:
        """The same with the exception's stack, which takes longer to format than all else that a retry needs.

        stack_from  leaves out the frames above it, which are the worker's own
        """
        frames = stack_from or error.__traceback__
        try:
            if _is_too_large(error):
                tail = f"{self.error_type}: {self.message} (more exceptions than a stack shows)\n"
                stack = "".join(traceback.format_tb(frames)) + tail
            else:
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


#: Exceptions that a stack shows: of a group, and of what they were raised from.
_MOST_SHOWN = 500


def _leaves(group: BaseExceptionGroup) -> list[BaseException]:
    """The exceptions in a group and in the groups within it, in their order, each once: a group may hold one twice."""
    found: list[BaseException] = []
    left: list[BaseException] = [group]
    seen: set[int] = set()
    while left:
        error = left.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        if is_a(error, BaseExceptionGroup):
            left.extend(reversed(_members(error)))
        else:
            found.append(error)
    return found


def _members(group: Any) -> tuple[BaseException, ...]:
    """What a group holds, past what a subclass may have made of it."""
    members: tuple[BaseException, ...] = BaseExceptionGroup.exceptions.__get__(group)
    return members


def _is_too_large(error: BaseException) -> bool:
    """Whether `traceback` would show too many exceptions: it walks each as often as a group holds it."""
    left, seen, count = [error], set[int](), 0
    while left and count <= _MOST_SHOWN:
        each = left.pop()
        count += 1
        seen.add(id(each))
        if is_a(each, BaseExceptionGroup):
            left.extend(_members(each))
        left.extend(one for one in (each.__cause__, each.__context__) if one is not None and id(one) not in seen)
    return count > _MOST_SHOWN


def is_a(error: BaseException, kind: type[E]) -> TypeGuard[E]:
    """Whether an exception is of a kind: `isinstance` would ask the exception, too, which may answer anything."""
    return issubclass(type(error), kind)


def _list(errors: list[BaseException]) -> str:
    """What a group holds, for people: what each is and the first line of what it says, once."""
    lines = dict.fromkeys(
        f"{name_of(type(each))}: {(_message(each).splitlines() or [''])[0][:_MOST_SAID]}" for each in errors
    )
    named = "; ".join([*lines][:_MOST_NAMED])
    return named if len(lines) <= _MOST_NAMED else f"{named}; and {len(lines) - _MOST_NAMED} others"


def _requested(error: BaseException) -> tuple[float | None, bool]:
    """When a handler wants its job back, and whether its run was no attempt.

    A user's subclass may have failed to say when; then it is a failure like any other.
    """
    if not is_a(error, RequeueRequest):
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
        return f"{name_of(type(error))} (it cannot be shown as text)"


def name_of(error_type: type) -> str:
    """The name of an exception's type, with its module unless it is built in."""
    name: str = _QUALNAME(error_type)
    module: Any = _MODULE(error_type)
    if type(module) is not str:  # A class may say anything.
        return f"?.{name}"
    return name if module == "builtins" else f"{module}.{name}"


def kinds_of(error_type: type[BaseException]) -> tuple[str, ...]:
    """The names of an exception's type and of all that it derives from, most special first."""
    known = _known.get(id(error_type))
    if known is not None:
        return known[1]
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    kinds = tuple(name_of(each) for each in _MRO(error_type) if each is not object)
    _known[id(error_type)] = error_type, kinds
    return kinds


#: What a class is called and derives from, past what its metaclass may make of these.
_MODULE, _QUALNAME, _MRO = (type.__dict__[name].__get__ for name in ("__module__", "__qualname__", "__mro__"))

#: The kinds of some types, by identity: a metaclass may forbid to hash or compare them. The type is kept, so that no
#: other can have its place.
_known: dict[int, tuple[type, tuple[str, ...]]] = {}
_MOST_KNOWN = 256
