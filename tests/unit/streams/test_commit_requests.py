"""Requests to commit: each of the generation that it was made for, and none larger than a broker takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import CommitFailedError, RequestTimedOutError

from streams.core.offsets.tracker import Commit, OffsetTracker
from streams.core.partition.partition import QueuePartition
from streams.kafka.consumer.commit_loop import requests_of
from streams.kafka.consumer.thread import ConsumerThread
from streams.ports.records import DueCommit, TopicPartition


class Coordinator(GroupCoordinator):  # type: ignore[misc]
    """aiokafka's own, whose requests are answered here."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._commit_lock = asyncio.Lock()
        self._retry_backoff_ms = 1
        self._answer = answer
        self.group_id, self.member_id, self.coordinator_id, self.generation = "g", "m", 1, 7
        self.sent: list[int] = []

    def __del__(self, _warnings: Any = None) -> None:
        """Nothing was opened."""

    async def ensure_coordinator_known(self) -> None:
        """It is."""

    async def _send_req(self, request: Any) -> Any:
        self.sent.append(self.generation)
        return self._answer()


class Thread(ConsumerThread):
    """The consumer's thread, without one."""

    def __init__(self, coordinator: Coordinator) -> None:
        subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=None))
        self._stand_in = SimpleNamespace(_coordinator=coordinator, _subscription=subscription)

    def _ensure_consumer(self) -> Any:
        return self._stand_in


def due(tp: TopicPartition, metadata: str = "") -> DueCommit:
    offsets = OffsetTracker(0)
    return DueCommit(tp, offsets, Commit(0, metadata, 1), QueuePartition(offsets, limit_jobs=1, limit_bytes=1))


async def test_a_commit_is_never_made_again_for_a_later_generation() -> None:
    """It would overwrite what the partition's new owner has committed."""

    def answer() -> Any:
        coordinator.generation = 8
        raise RequestTimedOutError

    coordinator = Coordinator(answer)
    with pytest.raises(CommitFailedError):
        await Thread(coordinator).commit_due([due(TopicPartition("q", 0))], 7, with_map=True)
    assert coordinator.sent == [7]


async def test_a_commit_that_was_not_answered_is_made_again() -> None:
    answers = iter([RequestTimedOutError(), SimpleNamespace(topics=[("q", [(0, 0)])])])

    def answer() -> Any:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    coordinator = Coordinator(answer)
    await Thread(coordinator).commit_due([due(TopicPartition("q", 0))], 7, with_map=True)
    assert coordinator.sent == [7, 7]


def test_a_partition_and_its_retries_go_into_one_request() -> None:
    found = []
    for number in range(300):
        queue = due(TopicPartition("q", number), "m" * 3000)
        retries = due(TopicPartition("q.retry", number), "m" * 3000)
        found += [queue, retries._replace(partition=queue.partition)]
    requests = list(requests_of(found))
    assert [each for request in requests for each in request] == found
    assert len(requests) > 1
    for request in requests:
        assert sum(len(each.commit.metadata) for each in request) < 900_000
        assert len({each.partition for each in request}) == len(request) / 2
