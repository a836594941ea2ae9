"""A stack that people read begins with their own code."""

from __future__ import annotations

import asyncio
import traceback

import pytest

import streams.core.retry.backoff
import streams.jobs.support.smtp
import streams.worker.executor
from streams.api.queue import Queue
from streams.worker.handlers.own_frames import is_own, without_own


@pytest.mark.parametrize(
    ("file", "own"),
    [
        (streams.worker.executor.__file__, True),
        (asyncio.tasks.__file__, True),
        (streams.jobs.support.smtp.__file__, False),
        (streams.core.retry.backoff.__file__, False),
        (__file__, False),
        ("<string>", False),
    ],
)
def test_code_is_the_workers_or_theirs(file: str, own: bool) -> None:
    assert is_own(file) is own


def functions(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(without_own(error.__traceback__))]


def test_what_they_have_called_of_the_worker_stays() -> None:
    def handler() -> None:
        Queue("not a name!")

    own = compile("def run(work):\n    work()\n", streams.worker.executor.__file__, "exec")
    names: dict[str, object] = {}
    exec(own, names)
    with pytest.raises(Exception) as raised:
        names["run"](handler)  # type: ignore[operator]
    found = functions(raised.value.with_traceback(raised.value.__traceback__.tb_next))  # type: ignore[union-attr]
    assert found[0] == "handler"
    assert len(found) > 1


def test_of_what_failed_within_the_worker_all_is_shown() -> None:
    own = compile("def run():\n    raise ValueError\n", streams.worker.executor.__file__, "exec")
    names: dict[str, object] = {}
    exec(own, names)
    with pytest.raises(ValueError) as raised:
        names["run"]()  # type: ignore[operator]
    within = raised.value.with_traceback(raised.value.__traceback__.tb_next)  # type: ignore[union-attr]
    assert functions(within) == ["run"]
    assert without_own(None) is None
