"""Opening partitions: what a retry log holds, logs that were made anew, leaders that change, rebalances meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from typing import Any

import pytest

from schemas.errors import RegistryUnavailable
from schemas.headers import Origin, RetryState, with_retry
from schemas.models.webhook import DeliverWebhook
from streams.core.offsets.commit_metadata import CommitMetadata
from streams.kafka.retry_topic import open_partitions
from streams.kafka.retry_topic.open_partitions import PartitionOpener
from streams.kafka.retry_topic.reader import Piece, RetryTopicReader, Stored
from streams.ports.group import CommittedOffset, LogBounds, NotSettledYet, RebalancedMeanwhile
from streams.ports.records import TopicPartition
from streams.worker.handlers import writer_schemas
from tests.unit.streams.rig import P0, TOPIC, job, make_codec, record, records, rig


class Group:
    """A group that has committed some offset of the queue, whose log ends somewhere."""

    def __init__(
        self,
        committed: int | None,
        end: int,
        *,
        retries: int | None = None,
        ids: Iterable[str] = (),
        metadata: str = "",
    ) -> None:
        self._committed = committed
        self._metadata = metadata
        self._end = end
        self._retries = retries
        self._ids = list(ids)

    async def committed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, CommittedOffset]:
        of_queue, of_retries = self._committed, self._retries
        return {tp: CommittedOffset(of_queue if tp.topic == TOPIC else of_retries, self._metadata) for tp in partitions}

    async def bounds(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        return dict.fromkeys(partitions, (0, self._end))

    async def ends(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(partitions, self._end)

    async def ids(self, topics: Collection[str]) -> Mapping[str, str | None]:
        return dict.fromkeys(topics, self._ids.pop(0) if self._ids else "")


class Logs(RetryTopicReader):
    """A retry log with some records, read up to an end that may be another than it had."""

    def __init__(self, stored: list[Stored], ends_at: int | None = None) -> None:
        self._stored = stored
        self._ends_at = len(stored) if ends_at is None else ends_at

    async def bounds(
        self, partitions: Iterable[TopicPartition], overtaken: Callable[[], bool]
    ) -> dict[TopicPartition, LogBounds]:
        return dict.fromkeys(partitions, LogBounds(0, len(self._stored)))

    async def read(self, starts: Mapping[TopicPartition, int], overtaken: Callable[[], bool]) -> AsyncIterator[Piece]:
        if overtaken():
            raise RebalancedMeanwhile
        for tp in starts:
            yield Piece(tp, self._stored[: self._ends_at], self._ends_at)


def parked(offset: int, position: int, key: str = "k", event: str = "parked", log: str = "") -> Stored:
    """A record of the retry log that is due."""
    stored = record(0, key, event=event)
    state = RetryState(position, 1, 1, log=log)
    headers = with_retry((), origin=Origin(TOPIC, 0, position), state=state, failure=None, now_ms=1)
    return Stored(offset, stored.key, stored.value, tuple(headers), 0)


@pytest.mark.parametrize("restarts", [{}, {P0: 0}])
async def test_jobs_of_a_log_that_was_made_anew_stand_for_none_of_the_new_one(
    restarts: Mapping[TopicPartition, int],
) -> None:
    """Their positions may be positions of the new log as well, of jobs with the same key."""
    ran = []

    async def handler(job: DeliverWebhook, ctx: Any) -> None:
        ran.append(job.event)

    async with rig(handler) as it:
        it.assignment.reassign([P0], 1)
        it.letters.ends[P0.retry] = 1
        committed = None if restarts else 100
        opening = PartitionOpener(it.assignment, Group(committed, end=50), Logs([parked(0, 10)]))
        assert await opening.open([P0], restarts, lambda: False)
        it.assignment.unblock_starts()
        it.take(records(0, 20, ["k"]))
        await it.idle()
    assert ran == ["parked", *map(str, range(20))]


class Registry:
    """A registry that is down at first."""

    def __init__(self) -> None:
        self.text = ""
        self.down = 2

    def schema_id(self, _topic: str, _job_type: str, text: str) -> int:
        self.text = text
        return 7

    def schema_text(self, _schema_id: int) -> str:
        self.down -= 1
        if self.down > 0:
            raise RegistryUnavailable("it is down")
        return self.text


async def test_parked_jobs_of_a_registry_wait_for_their_schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has just started knows none."""
    monkeypatch.setattr(writer_schemas, "_RETRY_AFTER", 0.01)
    registry = Registry()
    stored = parked(0, 1)._replace(value=make_codec(registry).encode(job("parked"), TOPIC))
    ran = []

    async def handler(job: DeliverWebhook, ctx: Any) -> None:
        ran.append(job.event)

    async with rig(handler, codec=make_codec(registry)) as it:
        it.assignment.reassign([P0], 1)
        assert await PartitionOpener(it.assignment, Group(2, end=2), Logs([stored])).open([P0], {}, lambda: False)
        it.assignment.unblock_starts()
        await it.idle()
        assert it.letters.to(f"{TOPIC}.dead") == []
    assert ran == ["parked"]
    assert registry.down == 0


async def test_a_log_that_ends_sooner_than_it_did_is_opened_again() -> None:
    async def handler(job: DeliverWebhook, ctx: Any) -> None:
        """Nothing runs."""

    async with rig(handler) as it:
        logs = Logs([parked(0, 1), parked(1, 2)], ends_at=1)
        with pytest.raises(NotSettledYet, match=r"jobs\.webhook\.retry-0 ends sooner"):
            await PartitionOpener(it.assignment, Group(None, end=5), logs).open([P0], {}, lambda: False)
        assert it.assignment.assigned == 0


OURS = "o" * 22


@pytest.mark.parametrize(
    ("committed", "said"), [(7, "ends at 5, and had come to 7 before"), (4, "ends at 5, and had come to 9 before")]
)
async def test_a_broker_that_tells_an_old_end_is_not_believed_at_once(
    committed: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was cut off does not know that another leads: the log has all that it had, and is no new one."""

    async def handler(job: DeliverWebhook, ctx: Any) -> None:
        """Nothing runs."""

    async with rig(handler) as it:
        it.assignment.reassign([P0], 1)
        stored = parked(0, 8, log=OURS)
        group = Group(committed, end=5, ids=[OURS] * 8, metadata=CommitMetadata(log=OURS).text(0))
        opener = PartitionOpener(it.assignment, group, Logs([stored]))
        with pytest.raises(NotSettledYet, match=f"{TOPIC}-0 {said}"):
            await opener.open([P0], {}, lambda: False)
        monkeypatch.setattr(open_partitions, "_DISBELIEF", 0.0)
        assert await opener.open([P0], {}, lambda: False), "it has lost what it had acknowledged"


async def test_an_old_end_that_was_told_long_ago_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log was whole meanwhile, and something else kept its partition from being opened."""

    async def handler(job: DeliverWebhook, ctx: Any) -> None:
        """Nothing runs."""

    clock = [0.0]
    monkeypatch.setattr(open_partitions, "monotonic", lambda: clock[0])
    async with rig(handler) as it:
        it.assignment.reassign([P0], 1)
        group = Group(7, end=5, ids=[OURS] * 10, metadata=CommitMetadata(log=OURS).text(0))
        opener = PartitionOpener(it.assignment, group, Logs([]))
        for clock[0] in (0.0, 70.0, 125.0):
            with pytest.raises(NotSettledYet, match="had come to 7 before"):
                await opener.open([P0], {}, lambda: False)
        clock[0] = 131.0
        assert await opener.open([P0], {}, lambda: False)


async def test_an_opening_that_was_overtaken_leaves_nothing_behind() -> None:
    async def handler(job: DeliverWebhook, ctx: Any) -> None:
        """Nothing runs."""

    async with rig(handler) as it:
        opening = PartitionOpener(it.assignment, Group(None, end=5), Logs([parked(0, 1)]))
        assert not await opening.open([P0], {}, lambda: True)
        assert it.assignment.assigned == 0


async def test_a_topic_that_is_made_anew_while_it_is_opened_is_opened_again() -> None:
    """What was asked by its name may be of either log."""

    async def handler(job: DeliverWebhook, ctx: Any) -> None:
        """Nothing runs."""

    async with rig(handler) as it:
        group = Group(None, end=5, ids=["a" * 22, "b" * 22])
        with pytest.raises(NotSettledYet, match="made anew just now"):
            await PartitionOpener(it.assignment, group, Logs([])).open([P0], {}, lambda: False)
        assert it.assignment.assigned == 0
        assert await PartitionOpener(it.assignment, group, Logs([])).open([P0], {}, lambda: False)


async def test_a_commit_that_a_broker_has_forgotten_with_its_topic_leaves_no_parked_jobs_to_the_new_one() -> None:
    """It forgets what was committed for a topic that is deleted, and the retry topic is still there."""
    ran = []

    async def handler(job: DeliverWebhook, ctx: Any) -> None:
        ran.append(job.event)

    async with rig(handler) as it:
        it.assignment.reassign([P0], 1)
        it.letters.ends[P0.retry] = 1
        opening = PartitionOpener(it.assignment, Group(None, end=50, retries=0), Logs([parked(0, 10)]))
        assert await opening.open([P0], {}, lambda: False)
        it.assignment.unblock_starts()
        it.take(records(0, 20, ["k"]))
        await it.idle()
    assert ran == ["parked", *map(str, range(20))]
