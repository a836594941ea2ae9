"""When a worker commits, how the interval stretches with the size of its maps, and what follows when it is refused.

The consumer runs the loop; a rebalance says when it may commit and as a member of which generation. Nothing here knows
Faust.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import NoReturn, Protocol

from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, OffsetMetadataTooLargeError

from streams.core.offsets.commit_metadata import METADATA_LIMIT
from streams.kafka.errors import RETRY_AFTER
from streams.ports.records import DueCommit

logger = logging.getLogger(__name__)

#: The generation of a member that is in no group.
NO_GENERATION = -1

#: Seconds that a commit may take when partitions are given up.
LAST_COMMIT_TIMEOUT = 10.0

#: What one request to commit may hold, since a broker keeps it as one batch of at most a megabyte, and what it keeps of
#: an offset beside its metadata. Bytes.
_REQUEST_BYTES = 400_000
_OFFSET_BYTES = 200

#: Of the time, at most one part in so many goes into putting commits together, however large their maps are.
_ENCODING_SHARE = 10


class CommitSource(Protocol):
    """What there is to commit, and who hears what came of it: the worker's assignment."""

    def collect_commits(self) -> Sequence[DueCommit]: ...
    def commits_acknowledged(self, commits: Iterable[DueCommit]) -> None: ...
    def withhold(self, topics: Iterable[str]) -> None: ...


class CommitTarget(Protocol):
    """Where commits go: the consumer group."""

    async def commit_due(self, due: Iterable[DueCommit], generation: int, *, with_map: bool) -> set[str]:
        """Commit in one request. Returns the topics that are not there.

        Raises CommitFailedError when the group has moved on, OffsetMetadataTooLargeError when the broker takes no maps
        as large as ours, and other KafkaErrors.
        """
        ...


class CommitLoop:
    """Commits what is due: one request at a time, and none sooner than an interval after the last.

    interval      seconds between two commits; more while large maps take long to put together
    retry_after   seconds until a commit that was refused is made again
    last_timeout  seconds that a commit may take when partitions are given up
    """

    def __init__(
        self,
        source: CommitSource,
        target: CommitTarget,
        interval: float,
        *,
        retry_after: float = RETRY_AFTER,
        last_timeout: float = LAST_COMMIT_TIMEOUT,
    ) -> None:
        self._source = source
        self._target = target
        self._interval = interval
        self._retry_after = retry_after
        self.last_timeout = last_timeout
        self._generation = NO_GENERATION
        #: Whether partitions are this worker's beyond doubt; between two assignments they may be somebody else's.
        self.permitted = False
        #: Whether the broker has taken the last commit before partitions were given up.
        self.committed_last = True
        self._with_map = True
        #: Seconds that it took to put the last commit together.
        self._collecting = 0.0
        self._wanted = asyncio.Event()
        #: Set where somebody waits for the next commit.
        self._hurried = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    def join(self, generation: int) -> None:
        """Commit as a member of this generation of the group, once that is permitted."""
        self._generation = generation

    def permit(self) -> None:
        """Commit from now on, until the last commit before partitions are given up."""
        self.permitted = True

    @property
    def wanted(self) -> bool:
        """Whether the loop has something to commit, as far as it was told."""
        return self._wanted.is_set()

    def commit_soon(self) -> None:
        """Commit with the next round."""
        self._wanted.set()

    def commit_now(self) -> None:
        """Commit without waiting for the interval to end."""
        self._hurried.set()
        self._wanted.set()

    async def run(self) -> NoReturn:
        """Commit while anything finishes, until it is cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            begun = monotonic()
            if await self.commit():
                await self._rest(begun + self.pause - monotonic())
            else:
                await asyncio.sleep(self._retry_after)

    @property
    def pause(self) -> float:
        """Seconds from the beginning of the last commit to the next one."""
        return max(self._interval, self._collecting * _ENCODING_SHARE)

    async def _rest(self, seconds: float) -> None:
        """Wait, unless somebody waits for the next commit."""
        if not self._hurried.is_set() and seconds > 0:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._hurried.wait(), seconds)
        self._hurried.clear()

    async def commit(self) -> bool:
        """Commit what is due. Returns whether nothing of it stays due; else the loop commits it again."""
        async with self._one_at_a_time:
            due = self._collect()
            if not due or await self._send(due):
                return True
            self._wanted.set()
            return False

    def _collect(self) -> Sequence[DueCommit]:
        begun = monotonic()
        due = self._source.collect_commits() if self.permitted else []
        self._collecting = monotonic() - begun
        return due

    async def _send(self, due: Sequence[DueCommit]) -> bool:
        """Send commits, each request after the one before was answered. Returns whether the broker has taken them."""
        try:
            for request in requests_of(due):
                missing = await self._target.commit_due(request, self._generation, with_map=self._with_map)
                self._source.commits_acknowledged([each for each in request if each.tp.topic not in missing])
                self._source.withhold(missing)
        except (CommitFailedError, IllegalStateError) as error:
            logger.info("commit overtaken by a rebalance: %s", error)
        except OffsetMetadataTooLargeError:
            self._with_map = False
            logger.error(
                "the broker refuses the map of finished offsets: set its offset.metadata.max.bytes to %d or more."
                " Until then a restart repeats jobs that finished before an earlier one",
                METADATA_LIMIT,
            )
        except KafkaError as error:
            logger.error("the broker refused a commit: %r; trying again", error)
        else:
            return True
        return False

    async def commit_last(self) -> None:
        """Commit what is due before partitions are given up; then nothing more until it is permitted again."""
        self.committed_last = await self.commit_in_time()
        if not self.committed_last:
            logger.warning("the broker has not taken the last commit; what has finished since the one before may run"
                           " again")  # fmt: skip
        self.permitted = False

    async def commit_in_time(self) -> bool:
        """Commit what is due. Returns whether the broker has taken it in time."""
        with suppress(asyncio.TimeoutError):
            return await asyncio.wait_for(self.commit(), self.last_timeout)
        return False


def requests_of(due: Sequence[DueCommit]) -> Iterator[list[DueCommit]]:
    """What is due, in requests that a broker takes; a job's way to its retry topic is in one of them."""
    request: list[DueCommit] = []
    size = 0
    for each in due:
        if size > _REQUEST_BYTES and each.partition is not request[-1].partition:
            yield request
            request, size = [], 0
        request.append(each)
        size += len(each.commit.metadata) + _OFFSET_BYTES
    yield request
