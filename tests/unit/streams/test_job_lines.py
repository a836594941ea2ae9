"""Lines of the log are the worker's own, whatever keys, ids and messages hold."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.headers import Origin
from streams.api.context import JobContext
from streams.core.retry.failure import Failure
from streams.logs.job_lines import LINES, DoneLines, FailureLines
from streams.logs.safe_text import shown
from streams.ports.events import JobInfo

HOSTILE = "a\n[2026] dead  all\r\x1b[2J\x00\x9b\u2028\u202e\ud800z"
ESCAPED = r"a\n[2026] dead  all\r\x1b[2J\x00\x9b\u2028\u202e\ud800z"


def info(key: bytes | None, job_id: str) -> JobInfo:
    return JobInfo("email", job_id, key, 0, Origin("jobs.email", 0, 7))


def line(caplog: pytest.LogCaptureFixture, key: bytes | None, job_id: str, failed: Failure | None) -> str:
    with caplog.at_level(logging.INFO, "streams.outcome"):
        if failed is None:
            DoneLines().done(info(key, job_id), 0.0123)
        else:
            FailureLines().dead(info(key, job_id), failed, 0.0123)
    return caplog.messages[-1]


def test_what_people_write_is_shown_as_they_wrote_it(caplog: pytest.LogCaptureFixture) -> None:
    outcome = Failure("shop.Gone", "410: für immer 語\nand more", "")
    assert line(caplog, "Zoë 語".encode(), "job-1", outcome) == (
        "dead  email job-1 key=Zoë 語 12 ms: shop.Gone: 410: für immer 語"
    )
    assert line(caplog, None, "job-2", None) == "done  email job-2 key=- 12 ms"


def test_control_characters_are_escaped(caplog: pytest.LogCaptureFixture) -> None:
    key = HOSTILE.encode("utf-8", "surrogatepass")
    outcome = Failure(HOSTILE, HOSTILE.replace("\n", "").replace("\r", "").replace("\u2028", ""), "")
    written = line(caplog, key, HOSTILE, outcome)
    assert written.isprintable()
    assert written.startswith(f"dead  email {ESCAPED} key=a")
    assert ESCAPED in written
    assert line(caplog, key, HOSTILE, None).isprintable()


def test_long_ones_are_cut(caplog: pytest.LogCaptureFixture) -> None:
    written = line(caplog, b"k" * 10**6, "i" * 1024, Failure("E" * 10**6, "m" * 10**6, ""))
    assert len(written) < 1100
    assert f"key={'k' * 99}… 12 ms" in written


def test_retries_have_lines_while_they_are_few_and_are_counted_beyond(caplog: pytest.LogCaptureFixture) -> None:
    times: list[float] = []
    lines = FailureLines(lambda: times[-1])
    failed = Failure("shop.Gone", "410")

    def fail(number: int, now: float) -> None:
        times.append(now)
        lines.parked(info(b"Zoe", f"job-{number}"), failed, 0.0123, 3.0, 1)

    for number in range(LINES + 7):
        fail(number, 10.0 + number / 1000)
    assert len(caplog.messages) == LINES
    assert caplog.messages[0] == ("retry email job-0 key=Zoe 12 ms: shop.Gone: 410; again in 3.0 s, attempts made: 1")
    lines.tick(10.9)
    assert len(caplog.messages) == LINES
    lines.tick(11.1)
    assert caplog.messages[LINES:] == ["retry email: 7 more jobs came back within a second"]
    fail(1000, 11.2)
    assert "job-1000" in caplog.messages[-1], "the next second has lines of its own"
    lines.tick(13.0)
    assert len(caplog.messages) == LINES + 2, "nothing is left to tell"


def test_dead_letters_have_lines_of_their_own_within_bounds(caplog: pytest.LogCaptureFixture) -> None:
    lines = FailureLines(lambda: 10.0)
    failed = Failure("shop.Gone", "410")
    lines.parked(info(None, "job"), failed, 0.0123, 3.0, 1)
    for number in range(LINES + 5):
        lines.dead(info(b"Zoe", f"job-{number}"), failed, 0.0123)
    assert len(caplog.messages) == 1 + LINES
    lines.tick(11.1)
    assert caplog.messages[-1] == "dead  email: 5 more jobs became dead letters within a second"


@given(st.text(st.characters() | st.sampled_from("\n\r\x1b\x7f\x85\ud800")), st.integers(1, 40))
def test_any_text_prints_and_keeps_its_beginning(text: str, limit: int) -> None:
    cut = shown(text, limit)
    assert cut.isprintable()
    assert len(cut) <= limit * 10
    if text.isprintable() and len(text) <= limit:
        assert cut == text


@pytest.mark.parametrize("job_id", [HOSTILE, "100%d", "%(name)s", "i" * 1024])
def test_a_handlers_lines_begin_with_an_id_that_harms_nothing(caplog: pytest.LogCaptureFixture, job_id: str) -> None:
    with caplog.at_level(logging.INFO, "streams.job"):
        JobContext(job_id, "email").logger.info("%s of %d", "one", 2)
        JobContext(job_id, "email").logger.info("no arguments")
    first, second = caplog.messages
    assert first.startswith("[email ")
    assert first.endswith("] one of 2")
    assert second.endswith("] no arguments")
    assert first.isprintable()
    assert len(first) < 400
    assert [getattr(record, "job_id") for record in caplog.records] == [job_id, job_id]  # noqa: B009
