"""What is said of a failure, whatever the exception is."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from streams.core.retry.failure import Failure


def catch(error: BaseException) -> BaseException:
    """Raise it, so that it has a traceback."""
    try:
        raise error  # noqa: TRY301
    except BaseException as caught:
        return caught


class Mute(Exception):
    """Cannot be shown, and calls exit() over it."""

    def __str__(self) -> NoReturn:
        raise SystemExit("no words")


def odd_syntax_error() -> SyntaxError:
    error = SyntaxError("bad", ("file.py", 1, 1, "text"))
    error.lineno = "none"  # type: ignore[assignment]
    error.offset = error.text = object()  # type: ignore[assignment]
    return error


class Elusive(type):
    """A class that is not to be hashed, compared, or asked for what it is."""

    def __eq__(cls, other: object) -> NoReturn:
        raise RuntimeError("no comparison")

    def __hash__(cls) -> NoReturn:
        raise RuntimeError("no hash")

    def __getattribute__(cls, name: str) -> NoReturn:
        raise RuntimeError(f"no {name}")


class OfNoClass(Exception, metaclass=Elusive):
    """Does not say what it is, either."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            raise RuntimeError("no class")
        return super().__getattribute__(name)

    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")


def doubled(levels: int) -> BaseException:
    """A group of groups, each twice in the one above it: a few objects, and very many ways to walk."""
    error: Exception = ValueError("at the bottom")
    for _ in range(levels):
        error = ExceptionGroup("twice", [error, error])
    return error


def chained(length: int) -> BaseException:
    error = ValueError("the last")
    link = error
    for number in range(length):
        link.__cause__ = ValueError(str(number))
        link = link.__cause__
    return error


def test_an_exception_of_a_class_that_answers_nothing() -> None:
    try:
        raise OfNoClass  # noqa: TRY301
    except BaseException as error:
        failed = Failure.of(error).with_stack(error)
    name = f"{__name__}.OfNoClass"
    assert (failed.error_type, failed.message) == (name, f"{name} (it cannot be shown as text)")
    assert failed.kinds == (name, "Exception", "BaseException")
    assert "test_failure.py" in failed.stack


@pytest.mark.parametrize("error", [doubled(60), chained(600), ExceptionGroup("many", [ValueError()] * 5_000)])
def test_what_holds_very_many_exceptions_is_described_at_once(error: BaseException) -> None:
    caught = catch(error)
    failed = Failure.of(caught).with_stack(caught)
    assert len(failed.stack) < 10_000
    assert failed.stack.endswith("(more exceptions than a stack shows)\n")
    assert len(failed.message) < 1_000


def test_a_group_that_holds_a_failure_twice_names_it_once() -> None:
    failed = Failure.of(doubled(3))
    assert failed.message.endswith(": ValueError: at the bottom")
    assert failed.parts == (("ValueError", "Exception", "BaseException"),)


@pytest.mark.parametrize("error", [ValueError("as ever"), Mute(), odd_syntax_error()], ids=["plain", "mute", "odd"])
def test_whatever_it_is_it_has_a_stack(error: BaseException) -> None:
    caught = catch(error)
    failed = Failure.of(caught).with_stack(caught)
    assert "test_failure.py" in failed.stack
    assert type(error).__name__ in failed.stack
    assert failed.message


class Shy(ValueError):
    """An exception that fails whoever asks what it was raised from, as a formatter of stacks does."""

    @property
    def __cause__(self) -> NoReturn:  # type: ignore[override]
        raise LookupError


def test_a_stack_that_cannot_be_formatted_says_so() -> None:
    caught = catch(Shy("as ever"))
    stack = Failure.of(caught).with_stack(caught).stack
    assert "raise error" in stack, "where it happened is known all the same"
    assert stack.endswith("Shy (no more of it can be shown: LookupError)\n")
