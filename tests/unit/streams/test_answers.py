"""What processes of the pool send is data: nothing that is read there runs in the worker."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from schemas.models.email import SendEmail
from streams.api.context import FollowUp
from streams.core.retry.failure import Failure
from streams.worker.process_pool.answers import Unreadable, read_answer
from streams.worker.process_pool.child_runs import Ended

MAIL = SendEmail(to=["a@example.org"], subject="s", text="t")


class Calls:
    """Calls a function wherever it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.function, self.arguments


@pytest.mark.parametrize(
    "value",
    [
        Ended(None, [FollowUp(MAIL, {"id": "id", "headers": {"a": b"b"}, "timeout": 1.0, "expires_in": timedelta(1)})]),
        Ended(Failure("a.B", "m", kinds=("a.B",)), [], exhausted=True),
        {"when": datetime(2026, 1, 2, tzinfo=UTC), "there": datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Paris"))},
        [Decimal("1.50"), UUID(int=7), {1}, bytearray(b"b")],
    ],
)
def test_data_is_read(value: object) -> None:
    assert read_answer(pickle.dumps(value)) == value


@pytest.mark.parametrize(
    ("hostile", "said"),
    [
        (Calls(os._exit, 9), "posix._exit is no class of payloads"),
        (Calls(sys.exit), "sys.exit is no class of payloads"),
        (Calls(eval, "1"), "builtins.eval is no class of payloads"),
        (Calls(getattr, Calls, "mro"), "Calls is no class of payloads"),
        (Calls(ZoneInfo, "no/such/zone"), "ZoneInfoNotFoundError where it was read"),
        (pytest.raises, "is no class of payloads"),
    ],
)
def test_what_is_no_data_is_refused(hostile: object, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read_answer(pickle.dumps([hostile]))


@pytest.mark.parametrize("body", [b"", b"\x80", pickle.dumps(MAIL)[:-5]])
def test_what_is_no_pickle_is_refused(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_answer(body)
