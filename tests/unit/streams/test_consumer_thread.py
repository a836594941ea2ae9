"""What the consumer's thread makes of a broker that does not answer as it should."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import GroupLoadInProgressError, NotCoordinatorForGroupError, UnknownError
from aiokafka.protocol.commit import OffsetFetchResponse_v1, OffsetFetchResponse_v3
from aiokafka.structs import TopicPartition

from streams.kafka.consumer import thread as consumer_thread
from streams.kafka.consumer.thread import ConsumerThread
from streams.ports.group import CommittedOffset, NotSettledYet
from streams.ports.records import TopicPartition as Place
from tests.unit.streams.rig import until

BROKEN = TopicPartition("jobs.email", 0)
INTERVAL = 0.1


class Consumer:
    """What is paused of an assignment that a rebalance makes anew."""

    def __init__(self) -> None:
        self.paused = False
        self.resumed = 0

    def pause(self, tp: TopicPartition) -> None:
        assert tp == BROKEN
        self.paused = True

    def resume(self, tp: TopicPartition) -> None:
        assert tp == BROKEN
        self.paused = False
        self.resumed += 1


async def test_rebalances_make_it_no_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_thread, "RETRY_AFTER", INTERVAL)
    thread, consumer = ConsumerThread.__new__(ConsumerThread), Consumer()
    monkeypatch.setattr(thread, "_ensure_consumer", lambda: consumer, raising=False)
    thread.thread_loop = asyncio.get_running_loop()
    thread._set_aside_until = {}
    for _ in range(5):
        # A rebalance: nothing is paused any more, and it is fetched at once.
        consumer.paused = False
        thread._set_aside(BROKEN, 7, ValueError("damaged"))
    await until(lambda: consumer.resumed)
    await asyncio.sleep(2 * INTERVAL)
    assert consumer.resumed == 1, "one clock, however many rebalances there were"
    thread._set_aside(BROKEN, 7, ValueError("damaged"))
    await until(lambda: consumer.resumed == 2)


# -- what the group has committed -------------------------------------------------------------------------------------

ONE, TWO, RETRY = Place("jobs.email", 0), Place("jobs.email", 1), Place("jobs.email.retry", 0)
LOADING, NOT_COORDINATOR = GroupLoadInProgressError.errno, NotCoordinatorForGroupError.errno


class Coordinator:
    """Answers as a broker does: with an error of the whole, or for each partition."""

    group_id = "jobs.default"

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.dead = False

    async def ensure_coordinator_known(self) -> None:
        pass

    async def _send_req(self, request: Any) -> Any:
        assert request._partitions == [("jobs.email", [0, 1]), ("jobs.email.retry", [0])]
        return self.answer

    def coordinator_dead(self) -> None:
        self.dead = True


def answered(*topics: tuple[str, list[tuple[int, int, str, int]]], error: int = 0) -> Any:
    return OffsetFetchResponse_v3(0, list(topics), error)


async def committed(answer: Any) -> tuple[dict[Place, CommittedOffset] | BaseException, bool]:
    """What is told of an answer, or raised; and whether another coordinator is looked for."""
    coordinator = Coordinator(answer)
    consumer = type("Consumer", (), {"_coordinator": coordinator})
    thread = ConsumerThread.__new__(ConsumerThread)
    vars(thread)["_ensure_consumer"] = lambda: consumer
    try:
        return await thread.committed([ONE, TWO, RETRY]), coordinator.dead
    except Exception as error:
        return error, coordinator.dead


async def test_what_is_committed_is_told() -> None:
    told = [("jobs.email", [(0, 7, "map", 0), (1, -1, "", 0)]), ("jobs.email.retry", [(0, 0, "", 0)])]
    expected = {ONE: CommittedOffset(7, "map"), TWO: CommittedOffset(None, ""), RETRY: CommittedOffset(0, "")}
    assert await committed(answered(*told)) == (expected, False)
    assert await committed(OffsetFetchResponse_v1(told)) == (expected, False)


@pytest.mark.parametrize(("code", "kind"), [(LOADING, GroupLoadInProgressError), (-1, UnknownError)])
async def test_an_error_of_the_whole_answer_is_no_group_without_commits(code: int, kind: type[Exception]) -> None:
    """Every job of the partitions would run again."""
    error, dead = await committed(answered(error=code))
    assert isinstance(error, kind)
    assert not dead


async def test_another_coordinator_is_looked_for() -> None:
    error, dead = await committed(answered(error=NOT_COORDINATOR))
    assert isinstance(error, NotCoordinatorForGroupError)
    assert dead


async def test_an_error_of_one_partition() -> None:
    error, _ = await committed(answered(("jobs.email", [(0, 7, "", 0), (1, -1, "", LOADING)])))
    assert isinstance(error, GroupLoadInProgressError)


async def test_a_partition_that_is_not_told_of_is_not_one_without_commits() -> None:
    error, _ = await committed(answered(("jobs.email", [(0, 7, "", 0), (1, 3, "", 0)])))
    assert isinstance(error, NotSettledYet)
    assert "jobs.email.retry-0" in str(error)


def test_a_thread_that_has_crashed_is_stopped_without_another_error() -> None:
    """It would be the last thing in the log, and hide the first."""
    thread = ConsumerThread.__new__(ConsumerThread)
    thread.thread_loop = asyncio.new_event_loop()
    thread.thread_loop.close()
    vars(thread)["_stopped"] = asyncio.Event()
    thread._stopped_set()
