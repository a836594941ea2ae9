"""Serves one partition of delayed jobs while it is this worker's: makes it its own, reads its log, fires what is due.

Nothing here raises for what may pass: a broker that is away, a disk that is full, a queue that has no topic yet. It is
logged and tried again, and the jobs wait.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence

from streams.logs.throttle import Throttle
from streams.ports.timers import (
    Clock,
    LogUnreachable,
    RecordsRefused,
    Refused,
    TimerChunk,
    TransactionFailed,
    Transactions,
)
from streams.timers.partition import Firing, PartitionTimers
from streams.timers.store import StoreFull, WaitingJob

logger = logging.getLogger(__name__)

#: Jobs of one transaction.
MOST = 1_000

#: How soon what has failed is tried again, and where somebody has to do something first. Milliseconds.
AGAIN_MS = 1_000
LASTING_MS = 15_000

#: After which people are told that a partition is being read still. Milliseconds.
SLOW_MS = 30_000

#: How often old notes are looked through. Milliseconds.
_TIDY_MS = 600_000


class PartitionOwner:
    """One partition, while it is this worker's. Belongs to one thread.

    end_of  asks for the end of the partition's log; see TimerLog
    """

    def __init__(
        self, timers: PartitionTimers, transactions: Transactions, end_of: Callable[[int], int], clock: Clock
    ) -> None:
        self.timers = timers
        self.number = timers.number
        self._transactions = transactions
        self._end_of = end_of
        self._clock = clock
        self._next_try = self._next_upkeep = self._fenced_at = 0
        self._next_tidy = clock() + _TIDY_MS
        self._damage: sqlite3.Error | None = None
        self._untaken: list[TimerChunk] = []
        self._unnoted: Firing | None = None
        self._lines = Throttle(1, 30.0)

    @property
    def damaged(self) -> sqlite3.Error | None:
        """Why its store cannot be used any more, if so: it is to be made anew from the log."""
        return self._damage

    @property
    def full(self) -> bool:
        """Whether it reads no further, since there is no room for what it has read."""
        return bool(self._untaken)

    def take(self, chunk: TimerChunk) -> None:
        """Take in what its log says."""
        self._untaken.append(chunk)
        self._take_in()

    def _take_in(self) -> None:
        while self._untaken:
            chunk = self._untaken[0]
            try:
                self.timers.take(chunk.records, self._clock(), chunk.end)
            except StoreFull as error:
                self._say_full(error)
                return
            except sqlite3.Error as error:
                self._damage = error
                return
            del self._untaken[0]

    def step(self) -> int | None:
        """Do what is to be done now. Returns when there is more to do, in epoch milliseconds; None if nothing is known.

        What is due now may be more than one step does.
        """
        now = self._clock()
        if now < self._next_try:
            return self._next_try
        try:
            if self._unnoted is not None:
                self.timers.written(self._unnoted, now)
                self._unnoted = None
            self._take_in()
            if not self.timers.fenced:
                self._transactions.begin(self.number)
                self.timers.load_to(self._end_of(self.number))
                self._fenced_at = now
            if not self.timers.loaded and now - self._fenced_at > SLOW_MS:
                self._say_slow()
            self._fire(now)
            self._keep_up(now)
            if now >= self._next_tidy:
                self._next_tidy = now + _TIDY_MS
                self.timers.forget_old(now)
            return self._next_step()
        except StoreFull as error:
            self._say_full(error)
        except sqlite3.Error as error:
            self._damage = error
        except (TransactionFailed, LogUnreachable) as error:
            self._put_off(error, now)
        return self._next_try or now

    def _next_step(self) -> int | None:
        due = self.timers.next_due()
        if due == 0:
            due = self._next_upkeep
        return self._next_try or None if due is None else max(self._next_try, due)

    def _fire(self, now: int) -> None:
        firing = self.timers.firing(now, MOST)
        if firing is None:
            return
        try:
            self._commit(firing, now)
        except RecordsRefused as refused:
            self._set_aside(firing, refused, now)

    def _keep_up(self, now: int) -> None:
        """Write what is due to records that say nothing any more. Jobs do not wait for that where it is refused."""
        firing = self.timers.upkeep(now, MOST) if now >= self._next_upkeep else None
        if firing is None:
            return
        try:
            self._commit(firing, now)
            for record in firing.malformed:
                logger.warning("a record of partition %d of the delayed jobs' topic, offset %d, is no such job: %s. It"
                               " is on %s now", self.number, record.place, record.why,
                               self.timers.dead_topic)  # fmt: skip
        except RecordsRefused as refused:
            self._next_upkeep = now + LASTING_MS
            logger.error("records of partition %d of the delayed jobs' topic that are none cannot be set aside: %s",
                         self.number, refused)  # fmt: skip

    def _commit(self, firing: Firing, now: int) -> None:
        self.timers.went(firing, self._transactions.commit(self.number, firing.records))
        self._unnoted = firing
        self.timers.written(firing, now)
        self._unnoted = None

    def _set_aside(self, firing: Firing, refused: RecordsRefused, now: int) -> None:
        """Go on without what was refused: a job that is never taken becomes a dead letter, others wait."""
        jobs = {at: why for at, why in refused.refused.items() if at < len(firing.jobs)}
        if not jobs:
            raise TransactionFailed(f"not taken: {refused}")
        if any(why.for_good for why in jobs.values()):
            # A broker refuses a whole batch because of one record: which that is only shows where each goes alone.
            for job in firing.jobs:
                self._fire_alone(job, now)
            return
        later = [firing.jobs[at] for at in jobs]
        self.timers.hold(later, now)
        self._say_held(later, next(iter(jobs.values())))

    def _fire_alone(self, job: WaitingJob, now: int) -> None:
        try:
            self._commit(self.timers.firing_of([job]), now)
        except RecordsRefused as refused:
            why = refused.refused.get(0, Refused(str(refused), for_good=False))
            if why.for_good:
                self._give_up(job, why, now)
            else:
                self.timers.hold([job], now)
                self._say_held([job], why)

    def _give_up(self, job: WaitingJob, why: Refused, now: int) -> None:
        try:
            self._commit(self.timers.giving_up(job, why.why, now), now)
        except RecordsRefused as refused:
            self.timers.hold([job], now)
            self._say_held([job], Refused(str(refused), for_good=False))
        else:
            logger.error("delayed job %s is a dead letter: queue %s does not take it: %s",
                         _shown(job), job.job.queue, why.why)  # fmt: skip

    # -- what people are told ------------------------------------------------------------------------------------------

    def _put_off(self, error: Exception, now: int) -> None:
        """Try again later, from the log: what has become of a transaction is not known here."""
        self.timers.begin_again()
        lasting = isinstance(error, TransactionFailed) and error.lasting
        self._next_try = now + (LASTING_MS if lasting else AGAIN_MS)
        if self._may_say():
            logger.log(
                logging.ERROR if lasting else logging.WARNING,
                "delayed jobs of partition %d wait: %s; trying again",
                self.number,
                error,
            )

    def _say_full(self, error: StoreFull) -> None:
        self._next_try = self._clock() + AGAIN_MS
        if self._may_say():
            logger.error(
                "there is no room for delayed jobs in %s (%s): those of partition %d wait, and none is lost. Make room,"
                " or name another directory in STREAMS_DATA_DIR",
                self.timers.store.file.parent,
                error,
                self.number,
            )

    def _say_slow(self) -> None:
        if self._may_say():
            logger.warning(
                "delayed jobs of partition %d wait: their log is not read to its end yet: offset %d of %d. Where this"
                " stands still, a transaction of another program is open on this topic: kafka-transactions.sh"
                " find-hanging",
                self.number,
                self.timers.position,
                self.timers.load_to_offset or 0,
            )

    def _say_held(self, jobs: Sequence[WaitingJob], why: Refused) -> None:
        if self._may_say():
            logger.warning("delayed job %s is due and waits on, %d others as well: %s; or cancel it: faust -A streams"
                           " delayed cancel", _shown(jobs[0]), len(jobs) - 1, why.why)  # fmt: skip

    def _may_say(self) -> bool:
        now = self._clock() / 1000
        if self._lines.is_over(now):
            self._lines.next_period(now)
        return self._lines.allow()


def _shown(job: WaitingJob) -> str:
    return job.job.id.decode("utf-8", "backslashreplace")
