"""What a fetch makes of the broker's answers for a partition."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import OffsetOutOfRangeError

from streams.kafka.fetch import requests
from streams.kafka.fetch.requests import Fetches
from tests.unit.streams.test_fetch_wire import FetchByIdResponse

TP = ("jobs.email", 3)


def fetches() -> Fetches:
    return Fetches(on_refused=lambda tp: None, has_untaken=lambda: False)


def test_a_log_that_begins_later_than_it_was_read_is_told(caplog: pytest.LogCaptureFixture) -> None:
    them = fetches()
    assert them.note(*TP, OffsetOutOfRangeError.errno, 10) == OffsetOutOfRangeError.errno
    assert them.note("jobs.email", 4, 0, 7) == 0, "another partition"
    assert not caplog.text
    them.note(*TP, 0, 100)
    (line,) = caplog.messages
    assert line.startswith("jobs.email-3: offsets 10 to 99 have left the log before they were read: at most 90 jobs")
    them.note(*TP, 0, 200)
    assert len(caplog.messages) == 1, "once"


def test_a_position_beyond_the_end_is_no_gap(caplog: pytest.LogCaptureFixture) -> None:
    them = fetches()
    them.note(*TP, OffsetOutOfRangeError.errno, 100)
    them.note(*TP, 0, 5)
    assert not caplog.text


def test_a_partition_that_is_opened_again_has_no_gap(caplog: pytest.LogCaptureFixture) -> None:
    them = fetches()
    them.note(*TP, OffsetOutOfRangeError.errno, 10)
    them.read(TP, None)
    them.note(*TP, 0, 100)
    assert not caplog.text


def test_a_fetch_that_leaves_partitions_out_is_answered_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "FetchRequest", None)
    untaken = False
    requests.install(Fetches(on_refused=lambda tp: None, has_untaken=lambda: untaken))

    def wait() -> int:
        asked = fetcher.FetchRequest(100, 1, 50_000, 1, [("jobs.email", [(3, 0, 1_000)])], rack_id="")
        return int(asked.prepare({1: (4, 11)}).max_wait_time)

    assert wait() == 100
    untaken = True
    assert wait() < 50, "those that were left out are asked for behind this answer"


def test_an_answer_of_a_log_that_is_not_read_any_more_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be held back by the network until the topic was made anew, and the offsets are the same."""
    monkeypatch.setattr(fetcher, "FetchRequest", None)
    refused: list[tuple[str, int]] = []
    them = Fetches(on_refused=refused.append, has_untaken=lambda: False)
    requests.install(them)
    old, new = b"o" * 16, b"n" * 16
    for partition in (3, 4):
        them.read(("jobs.email", partition), old)
    asked = fetcher.FetchRequest(100, 1, 50_000, 1, [("jobs.email", [(3, 0, 9), (4, 0, 9)])], rack_id="")
    request = asked.prepare({1: (4, 16)})
    them.read(TP, new)
    parts: list[tuple[Any, ...]] = [(3, 100, 9, 9, 0, [], -1, None, {}), (4, 0, 9, 9, 0, [], -1, b"records", {})]
    answer = FetchByIdResponse(0, 0, 0, [(old, parts, {})], {})
    read = request.RESPONSE_TYPE.decode(BytesIO(answer.encode()))
    assert [(topic, [part[0] for part in parts]) for topic, parts in read.topics] == [("jobs.email", [4])]
    assert refused == []
