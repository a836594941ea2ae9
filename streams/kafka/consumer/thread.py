"""aiokafka's consumer in a thread of its own: what the worker's loop asks of it, and how records come out of it.

With `faust_consumer` beside it, it knows the inside of Faust's consumer, and with `kafka/fetch` that of aiokafka's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol, TypeVar

import aiokafka
from aiokafka.errors import (
    CommitFailedError,
    GroupCoordinatorNotAvailableError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    NotCoordinatorForGroupError,
    RebalanceInProgressError,
    RequestTimedOutError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.structs import TopicPartition as KafkaPartition
from faust.transport.drivers import aiokafka as driver

from streams.kafka.admin.login import consumer_login
from streams.kafka.admin.open_transactions import OpenTransaction, fetch_open_transactions
from streams.kafka.admin.topic_ids import as_bytes, fetch_topic_ids
from streams.kafka.consumer.commit_loop import NO_GENERATION
from streams.kafka.consumer.fetch_loop import Fetched, FetchLoop
from streams.kafka.consumer.fetch_set import FetchSet
from streams.kafka.errors import RETRY_AFTER
from streams.kafka.fetch import requests
from streams.kafka.fetch.decoding import install, records_at_once
from streams.ports.group import CommittedOffset, NotSettledYet
from streams.ports.records import DueCommit, TopicPartition
from streams.settings import Settings

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: How long a fetch waits at the broker for records. It also bounds how long a partition that has just been read waits
#: behind a fetch for the others, since there is one at a time for each broker. Milliseconds.
_FETCH_WAIT_MS = 100

#: Bytes of one fetch: of one partition, and of all together.
_PARTITION_FETCH_BYTES = 1024 * 1024
_FETCH_BYTES = 8 * 1024 * 1024

#: aiokafka leaves the group when nothing is fetched for this long. A worker whose buffers are full fetches nothing and
#: is well, so this is the longest time it takes. Milliseconds.
_NEVER = 2**31 - 1

#: How long a consumer waits for a broker, which has answered a moment ago. Seconds.
_PATIENCE = 60.0

#: How long leaving the group and closing the connections may take. Seconds.
_LEAVING = 5.0


class Lease(Protocol):
    """What a heartbeat that was answered renews: the time in which the group waits for this worker."""

    def renew(self, sent: float) -> None: ...


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer in its own thread, where heartbeats go on whatever the handlers do.

    Its coroutines are called from the worker's loop through `run`.

    concurrency  jobs of one queue that run at once, at the most
    on_refused   called, in this thread, when a broker does not have a log that is read
    """

    def __init__(
        self,
        consumer: Any,
        settings: Settings,
        lease: Lease,
        *,
        concurrency: int,
        on_refused: Callable[[], None],
        **kwargs: Any,
    ) -> None:
        self._settings = settings
        self._concurrency = concurrency
        self._lease = lease
        #: Partitions that could not be read, and when they are tried again.
        self._set_aside_until: dict[KafkaPartition, asyncio.TimerHandle] = {}
        self._fetches = requests.Fetches(self._refused, lambda: bool(self._ensure_consumer()._fetcher._records))
        #: Behind the last record that was handed out of each partition, and what was passed over since.
        self._read_to: dict[Any, int] = {}
        self._fetch_loop: FetchLoop | None = None
        self._on_refused = on_refused
        super().__init__(consumer, **kwargs)

    async def on_start(self) -> None:
        """Start the consumer, whose heartbeats renew the lease; waits for a broker that has just gone away."""
        enough = monotonic() + _PATIENCE
        while True:
            try:
                await super().on_start()
                break
            except KafkaConnectionError as error:
                await self._ensure_consumer().stop()
                if self.should_stop or monotonic() >= enough:
                    raise
                logger.warning("no broker answers the consumer: %s; trying again", error)
                await self.sleep(RETRY_AFTER)
        _renew_by_heartbeats(self._ensure_consumer()._coordinator, self._lease)

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        settings = self._settings
        at_once = records_at_once(self._concurrency, settings.buffer_jobs)
        self._demand = install(self._set_aside, settings.limits, at_once, self._look)
        requests.install(self._fetches)
        # Faust's own assignor gives every worker the same partition numbers of all topics with equal partition counts.
        self._assignor = self.app.assignor
        return aiokafka.AIOKafkaConsumer(
            bootstrap_servers=settings.cluster.bootstrap_servers,
            client_id="streams-worker",
            group_id=settings.group,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # A job of a transaction that was aborted was never published.
            isolation_level="read_committed",
            max_poll_interval_ms=_NEVER,
            max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
            fetch_max_bytes=_FETCH_BYTES,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            session_timeout_ms=int(settings.session_timeout * 1000),
            heartbeat_interval_ms=int(settings.session_timeout * 1000 / 8),
            rebalance_timeout_ms=60_000,
            request_timeout_ms=40_000,
            metadata_max_age_ms=30_000,
            **consumer_login(settings.cluster),
        )

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the consumer's thread. Cancelling this cancels it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.thread_loop))

    async def hand_over(self, asked: FetchSet, receive: Callable[[Fetched], None]) -> None:
        """Fetch what is asked for, and hand it to the worker's loop as it comes, until the consumer is closed."""
        self._fetch_loop = FetchLoop(
            self._ensure_consumer(),
            self._demand,
            asked,
            may_fetch=lambda: self.consumer.flow_active,
            worker_loop=self.parent_loop,
        )
        await self._fetch_loop.run(receive, self._read_to)

    async def held_back(self) -> dict[TopicPartition, int]:
        """The assigned partitions that are read up to a transaction that is open, and where it begins."""
        assignment = self._ensure_consumer()._subscription.subscription.assignment
        states = {tp: assignment.state_value(tp) for tp in assignment.tps}
        return {
            TopicPartition(*tp): state.lso
            for tp, state in states.items()
            if state.has_valid_position and state.lso is not None and state.position == state.lso < state.highwater
        }

    async def transactions(self, tp: TopicPartition) -> list[OpenTransaction]:
        """The transactions that are open in a partition: see `fetch_open_transactions`."""
        return await fetch_open_transactions(self._ensure_consumer()._client, KafkaPartition(*tp))

    def _set_aside(self, tp: KafkaPartition, offset: int, error: Exception) -> None:
        """Wait before a partition that cannot be read is fetched again; the others go on."""
        logger.error(
            "%s-%d cannot be read from offset %d on: %r; it is tried again every %g s, and nothing is skipped. If the"
            " record is broken for good, delete the records up to it (kafka-delete-records.sh)",
            *tp, offset, error, RETRY_AFTER,
        )  # fmt: skip
        self._pause(tp)

    def _refused(self, tp: tuple[str, int]) -> None:
        """Wait before a log is fetched again that a broker does not have: another has replaced it, or will be told."""
        with suppress(IllegalStateError):  # It belongs to another worker by now.
            self._pause(KafkaPartition(*tp))
        self._on_refused()

    def _pause(self, tp: KafkaPartition) -> None:
        self._ensure_consumer().pause(tp)
        # After a rebalance it is fetched at once, whatever was paused before.
        if (earlier := self._set_aside_until.pop(tp, None)) is not None:
            earlier.cancel()
        self._set_aside_until[tp] = self.thread_loop.call_later(RETRY_AFTER, self._resume, tp)

    def _resume(self, tp: KafkaPartition) -> None:
        self._set_aside_until.pop(tp, None)
        with suppress(IllegalStateError):  # It belongs to another worker by now.
            self._ensure_consumer().resume(tp)

    def _look(self) -> None:
        if self._fetch_loop is not None:
            self._fetch_loop.look()

    def wake(self) -> None:
        """Have the fetch loop look again, since what is asked for has changed. May be called from any thread."""
        if self._fetch_loop is not None:
            self._fetch_loop.wake()

    async def commit_due(self, due: Iterable[DueCommit], generation: int, *, with_map: bool) -> set[str]:
        """Commit watermarks and maps in one request. Returns the topics of it that are not there.

        Raises CommitFailedError when the group has moved on.
        """
        coordinator = self._ensure_consumer()._coordinator
        by_topic: dict[str, list[tuple[int, int, str]]] = {}
        for tp, _, commit, _ in due:
            place = tp.partition, commit.watermark, commit.metadata if with_map else commit.short
            by_topic.setdefault(tp.topic, []).append(place)

        async def request() -> set[str]:
            # Nothing is awaited from here until the request is made, so that it is of this generation. aiokafka's own
            # way of trying again would take the next generation for it, and overwrite what a new owner has committed.
            if coordinator.generation != generation:
                raise CommitFailedError("the group has rebalanced since")
            # The consumer's own commit() takes assigned partitions only, and those of retry topics never are; and it
            # makes the whole commit again, for ever, where one topic of it is gone.
            return await _commit(coordinator, [*by_topic.items()])

        while True:
            await coordinator.ensure_coordinator_known()
            try:
                async with coordinator._commit_lock:
                    return await asyncio.shield(asyncio.ensure_future(request()))
            except (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError) as error:
                raise CommitFailedError("the group has moved on") from error
            except KafkaError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(coordinator._retry_backoff_ms / 1000)

    async def ids(self, topics: Collection[str]) -> dict[str, str | None]:
        """The ids of topics: see `fetch_topic_ids`."""
        return await fetch_topic_ids(self._ensure_consumer()._client, topics)

    def look_for_topics(self) -> None:
        """Have the consumer ask which topics there are. May be called from any thread."""
        self.thread_loop.call_soon_threadsafe(self._ensure_consumer()._client.force_metadata_update)

    async def committed(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, CommittedOffset]:
        """Ask what the group has committed for these partitions, of whatever topics.

        Raises KafkaError, and NotSettledYet.

        aiokafka's own way of asking overlooks the error of a whole answer, such as that the coordinator has not loaded
        the group yet. That would be a group without commits, whose partitions are read from their starts.
        """
        coordinator = self._ensure_consumer()._coordinator
        by_topic: dict[str, list[int]] = {}
        for tp in partitions:
            by_topic.setdefault(tp.topic, []).append(tp.partition)
        await coordinator.ensure_coordinator_known()
        answer = await coordinator._send_req(OffsetFetchRequest(coordinator.group_id, [*by_topic.items()]))
        try:
            return _committed_of(answer, partitions)
        except (NotCoordinatorForGroupError, GroupCoordinatorNotAvailableError):
            coordinator.coordinator_dead()
            raise

    async def bounds(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Ask for the first and the next offset of these assigned partitions."""
        consumer = self._ensure_consumer()
        wanted = [KafkaPartition(*tp) for tp in partitions]
        starts = _known(await consumer.beginning_offsets(wanted))
        ends = _known(await consumer.end_offsets(wanted))
        return {TopicPartition(*tp): (starts[tp], ends[tp]) for tp in wanted}

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask for the next offset of these assigned partitions."""
        ends = _known(await self._ensure_consumer().end_offsets([KafkaPartition(*tp) for tp in partitions]))
        return {TopicPartition(*tp): end for tp, end in ends.items()}

    async def seek_all(self, positions: Mapping[TopicPartition, int], logs: Mapping[TopicPartition, str]) -> None:
        """Fetch from these positions on, and from no other logs than these, where they are known."""
        consumer = self._ensure_consumer()
        for tp, position in positions.items():
            self._fetches.read(tp, as_bytes(logs[tp]) if logs.get(tp) else None)
            self._read_to[KafkaPartition(*tp)] = position
            consumer.seek(KafkaPartition(*tp), position)
            self._resume(KafkaPartition(*tp))

    def expelled(self) -> bool:
        """Whether the group has declared this member gone, so that its partitions may have other owners by now."""
        return bool(self._ensure_consumer()._coordinator.generation == NO_GENERATION)

    async def on_thread_stop(self) -> None:
        """Leave the group and close the consumer; a broker that is away must neither hold up a stop nor fail it."""
        closing = asyncio.ensure_future(super().on_thread_stop())
        await asyncio.wait({closing}, timeout=_LEAVING)
        closing.cancel()
        if closing.done() and not closing.cancelled() and (error := closing.exception()) is not None:
            logger.info("the consumer was not closed in order: %r", error)
        if self._consumer is not None:
            # aiokafka leaves its connections open when it is cut short, or trips over its own cancelled fetches.
            with suppress(Exception):
                await asyncio.wait_for(self._consumer._client.close(), 1.0)

    def _stopped_set(self) -> None:
        # Where the thread has crashed its loop is closed, and an error about that would hide why.
        with suppress(RuntimeError):
            super()._stopped_set()

    def close(self) -> None:
        """Nothing: `on_thread_stop` closes the consumer, after the last commit. Faust's closes it in the wrong loop."""


async def _commit(coordinator: Any, topics: list[tuple[str, list[tuple[int, int, str]]]]) -> set[str]:
    """Send one request to commit. Returns the topics of it that are not there; raises KafkaError for all else."""
    answer = await coordinator._send_req(
        OffsetCommitRequest(
            coordinator.group_id,
            coordinator.generation,
            coordinator.member_id,
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            topics,
        )
    )
    refused = {code: topic for topic, partitions in answer.topics for _, code in partitions if code}
    missing = {topic for topic, parts in answer.topics for _, code in parts if code == _NOT_THERE}
    refused.pop(_NOT_THERE, None)
    for code, topic in refused.items():
        _heed(coordinator, for_code(code))
        raise for_code(code)(topic)
    return missing


_NOT_THERE = UnknownTopicOrPartitionError.errno


def _heed(coordinator: Any, error: type[KafkaError]) -> None:
    """Have aiokafka find its coordinator, or join its group, again."""
    if error in (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError, RequestTimedOutError):
        coordinator.coordinator_dead()
    elif error is RebalanceInProgressError:
        coordinator.request_rejoin()
    elif error in (UnknownMemberIdError, IllegalGenerationError):
        coordinator.reset_generation()


def _committed_of(answer: Any, wanted: Iterable[TopicPartition]) -> dict[TopicPartition, CommittedOffset]:
    """What an answer to OffsetFetch says of these partitions: of every one, or it is no answer."""
    _check_code(getattr(answer, "error_code", 0))  # Since version 2.
    held = {}
    for topic, partitions in answer.topics:
        for partition, offset, metadata, code in partitions:
            _check_code(code)
            known = offset >= 0
            held[TopicPartition(topic, partition)] = (
                CommittedOffset(offset, metadata) if known else CommittedOffset(None, "")
            )
    for tp in wanted:
        if tp not in held:
            raise NotSettledYet("the group's coordinator does not tell what is committed for {}-{}".format(*tp))
    return held


def _check_code(code: int) -> None:
    if code:
        raise for_code(code)


def _known(offsets: dict[KafkaPartition, int]) -> dict[KafkaPartition, int]:
    """The offsets, of which none says that the broker does not know it just now; raises NotSettledYet."""
    for tp, offset in offsets.items():
        if offset < 0:
            raise NotSettledYet("the broker does not tell where {}-{} begins or ends".format(*tp))
    return offsets


def _renew_by_heartbeats(coordinator: Any, lease: Lease) -> None:
    """Renew a lease whenever the group has answered a heartbeat, from when it was sent."""
    beat = coordinator._do_heartbeat

    async def beat_and_renew() -> bool:
        sent = monotonic()
        answered: bool = await beat()
        if answered:
            lease.renew(sent)
        return answered

    coordinator._do_heartbeat = beat_and_renew
