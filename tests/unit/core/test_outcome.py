"""What is said of a failure, whatever the exception is."""

from __future__ import annotations

from typing import NoReturn

import pytest

from streams.core.outcome import Failed


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


@pytest.mark.parametrize("error", [ValueError("as ever"), Mute(), odd_syntax_error()], ids=["plain", "mute", "odd"])
def test_whatever_it_is_it_has_a_stack(error: BaseException) -> None:
    caught = catch(error)
    failed = Failed.of(caught).with_stack(caught)
    assert "test_outcome.py" in failed.stack
    assert type(error).__name__ in failed.stack
    assert failed.message


def test_a_stack_that_cannot_be_formatted_says_so() -> None:
    caught = catch(odd_syntax_error())
    stack = Failed.of(caught).with_stack(caught).stack
    assert "raise error" in stack, "where it happened is known all the same"
    assert stack.endswith("SyntaxError (no more of it can be shown: AttributeError)\n")
