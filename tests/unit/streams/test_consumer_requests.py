"""What the worker asks of its consumer reaches it, and is never lost without a word."""

from __future__ import annotations

import pytest

from streams.kafka.consumer.requests import ConsumerRequests
from tests.unit.streams.rig import P0, Asked


def test_what_is_asked_reaches_the_consumer() -> None:
    done: list[str] = []
    asked = Asked()
    asked.on_commit_now = lambda: done.append("now")
    requests = ConsumerRequests()
    requests.serve(asked)
    requests.fetch_again(P0)
    requests.reopen(P0, {P0: 7})
    requests.rejoin()
    requests.commit_soon()
    requests.commit_now()
    assert (asked.reopened, asked.restarted) == ([P0], [(P0, {P0: 7})])
    assert (asked.rejoins, asked.commits, done) == (1, 1, ["now"])


def test_what_is_asked_before_there_is_a_consumer_is_an_error() -> None:
    requests = ConsumerRequests()
    for ask in (requests.commit_soon, requests.commit_now, requests.rejoin):
        with pytest.raises(RuntimeError, match="before"):
            ask()


def test_there_is_one_consumer() -> None:
    requests = ConsumerRequests()
    requests.serve(Asked())
    with pytest.raises(RuntimeError, match="another consumer"):
        requests.serve(Asked())
