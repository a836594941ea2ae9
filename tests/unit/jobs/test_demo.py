"""The demonstration reads what the worker reports, and writes for people and for files."""

from __future__ import annotations

import io
import logging

import pytest

from schemas.headers import Origin
from streams.core.retry.failure import Failure
from streams.demo.outcomes import Outcome, Outcomes
from streams.demo.screen import Screen
from streams.logs.job_lines import DoneLines, FailureLines
from streams.ports.events import JobInfo


def info(key: bytes | None) -> JobInfo:
    return JobInfo("email", "job-1", key, 0, Origin("jobs.email", 0, 7))


def reported(caplog: pytest.LogCaptureFixture, failed: Failure | None, key: bytes | None) -> Outcome | None:
    """What the demonstration makes of the line that the worker logs."""
    with caplog.at_level(logging.INFO, "streams.outcome"):
        if failed is None:
            DoneLines().done(info(key), 0.0123)
        else:
            FailureLines().dead(info(key), failed, 0.0123)
    return Outcome.parse(f"[2026-01-31 08:15:30,123] [7] [INFO] {caplog.messages[-1]}")


def test_done(caplog: pytest.LogCaptureFixture) -> None:
    assert reported(caplog, None, b"a key") == Outcome("done", "email", "job-1", "a key", 12, None)
    assert reported(caplog, None, None) == Outcome("done", "email", "job-1", "-", 12, None)


def test_dead(caplog: pytest.LogCaptureFixture) -> None:
    failed = Failure("shop.Gone", "410: gone\nfor good", "stack")
    assert reported(caplog, failed, b"k") == Outcome("dead", "email", "job-1", "k", 12, "shop.Gone: 410: gone")


@pytest.mark.parametrize(("snooze", "state"), [(False, "retry"), (True, "later")])
def test_a_run_after_which_a_job_comes_back(caplog: pytest.LogCaptureFixture, snooze: bool, state: str) -> None:
    failed = Failure("shop.Busy", "503: not now", "stack", snooze=snooze)
    FailureLines().parked(info(b"k"), failed, 0.0123, 1.5, 1)
    reason = "shop.Busy: 503: not now; again in 1.5 s, attempts made: 1"
    outcome = Outcome.parse(caplog.messages[-1])
    assert outcome == Outcome(state, "email", "job-1", "k", 12, reason)
    assert not outcome.final


async def test_a_job_that_comes_back_has_no_outcome_yet() -> None:
    outcomes, told = Outcomes(), list[Outcome]()
    outcomes.subscribe(told.append)
    retry, done = (Outcome(state, "email", "1", "k", 1, None) for state in ("retry", "done"))
    outcomes.add(retry)
    outcomes.add(done)
    assert await outcomes.of("1") is done
    assert told == [retry, done]
    assert outcomes.order == ["1"]


@pytest.mark.parametrize("line", ["", "[^Worker]: Ready", "done with it", "dead  letters everywhere", "retry later"])
def test_other_lines(line: str) -> None:
    assert Outcome.parse(line) is None


async def test_of_a_repeated_job_the_first_outcome_counts() -> None:
    outcomes = Outcomes()
    first = Outcome("done", "email", "1", "k", 1, None)
    outcomes.add(first)
    outcomes.add(Outcome("dead", "email", "1", "k", 1, "late"))
    assert await outcomes.of("1") is first
    assert outcomes.order == ["1"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "no_color", "coloured"), [(Terminal(), "", True), (Terminal(), "1", False), (io.StringIO(), "", False)]
)
def test_colour_is_for_terminals(
    out: io.StringIO, no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    Screen(out).event("done", "email", "job-1", "key", "1 ms")
    assert ("\x1b[32mdone" in out.getvalue()) == coloured
