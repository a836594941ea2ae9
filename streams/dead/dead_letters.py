"""The dead letters of one queue: the one door to everything that can be done with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol

from schemas.codec import Codec
from streams.dead.errors import FilterInvalid
from streams.dead.filters import Filters
from streams.dead.handled.notes import GroupCommit, Notes
from streams.dead.handled.offsets import Handled, Range
from streams.dead.letter import Letter
from streams.dead.payload import Payload, Payloads
from streams.dead.redrive.one_at_a_time import alone
from streams.dead.redrive.order import Candidate, in_publication_order
from streams.dead.redrive.pace import Pace
from streams.dead.redrive.plan import Part, Plan, Skipped
from streams.dead.redrive.publisher import Publisher
from streams.dead.redrive.purge import Purged, purge
from streams.dead.redrive.redrive import CHUNK, Progress, Redrive
from streams.dead.topic.facts import find_topics, forgets_after
from streams.dead.topic.reader import DeadLog
from streams.kafka.admin.client import Admin
from streams.settings import Settings

#: How often a job may be redriven, unless somebody says otherwise.
MAX_REDRIVES = 10

#: Why a letter stays where it is; None if nothing speaks against sending it.
_Objection = Callable[[Letter], str | None]


@dataclass(frozen=True, slots=True)
class _Region:
    """One partition as it was found: its notes, and where its log begins and ends."""

    partition: int
    commit: GroupCommit
    handled: Handled
    start: int
    end: int


class Application(Protocol):
    """What dead letters need of an application, so that they need not know Faust."""

    @property
    def settings(self) -> Settings: ...
    @property
    def codec(self) -> Codec: ...


class DeadLetters(AbstractContextManager["DeadLetters"]):
    """The dead letters of one queue. Prints nothing.

    Every call blocks, and belongs in a thread without an event loop; one object serves one thread.

    Raises UnknownQueue, BrokerSilent when no broker answers within `patience` seconds, and SetupError when brokers
    refuse the login. Every call that asks the cluster may raise BrokerSilent later, too.
    """

    def __init__(self, settings: Settings, queue: str, codec: Codec, *, patience: float = 3.0) -> None:
        self.queue = queue
        self._settings = settings
        admin = Admin(settings.cluster)
        self._admin = admin.client
        self.topics = find_topics(admin, settings, queue, patience)
        #: The consumer group whose commits are the notes of what is handled.
        self.group = f"{settings.namespace}.dead.{queue}"
        self._payloads = Payloads(codec)
        self._log = DeadLog(settings.cluster, self.group, self.topics.dead)
        self._notes = Notes(settings.cluster, self.group, self.topics.dead)

    @classmethod
    def of(cls, app: Application, queue: str, *, patience: float = 3.0) -> DeadLetters:
        """Returns the dead letters of a queue, with the settings and schemas of an application: `streams.app`.

        Raises as DeadLetters() does.
        """
        return cls(app.settings, queue, app.codec, patience=patience)

    def find(
        self, filters: Filters | None = None, *, handled: bool = False, limit: int | None = None
    ) -> Iterator[Letter]:
        """Yields the letters that match, by partition and offset; with `handled` those handled, too, marked."""
        filters = filters or Filters()
        regions = self._regions(filters)
        found = (letter for region in regions for letter in self._scan(region, filters, everything=handled))
        for count, letter in enumerate(found, start=1):
            yield letter
            if count == limit:
                return

    def payload(self, letter: Letter) -> Payload:
        """Returns the decoded value of a letter, or why it cannot be decoded."""
        return self._payloads.decode(letter.value)

    def plan_redrive(
        self,
        filters: Filters | None = None,
        *,
        limit: int | None = None,
        max_redrives: int = MAX_REDRIVES,
        expired: bool = False,
    ) -> Plan:
        """Returns what a redrive would send back, and in which order; changes nothing.

        Jobs that were redriven `max_redrives` times are skipped, and so are expired ones, unless `expired`: then they
        are sent without their expiry.
        """
        now = int(time.time() * 1000)

        def objection(letter: Letter) -> str | None:
            if letter.redrives >= max_redrives:
                return f"redriven {letter.redrives} times, of at most {max_redrives}"
            if letter.expires_at is not None and letter.expires_at <= now and not expired:
                return "expired"
            return None

        return self._plan(filters or Filters(), limit, objection, now if expired else None)

    def redrive(
        self, plan: Plan, *, rate: float | None = None, chunk: int = CHUNK, pace: Pace | None = None
    ) -> Iterator[Progress]:
        """Send the letters of a plan back, at most `rate` a second; each step is a chunk, sent and noted.

        Ended early, by an error or because nobody asks for the next step, everything that was sent is noted. Killed, at
        most one chunk is not. Raises SomebodyElse, MapFull, DeliveryStopped and BrokerSilent.
        """
        if (rate is not None and not 0 < rate < float("inf")) or chunk < 1:
            raise FilterInvalid("a rate is a number of jobs a second above 0, and a chunk at least one letter")
        publisher = Publisher(self._settings.producer, self._settings.topic(self.queue), self.topics.queue_partitions)
        return Redrive(plan, self._log, self._notes, publisher, pace=pace or Pace(rate), chunk=chunk).run()

    def plan_purge(self, filters: Filters | None = None, *, limit: int | None = None) -> Plan:
        """Returns what a purge would mark as handled; changes nothing.

        Without filters and limit it also has the partitions in which all letters are handled, for their disk space.
        """
        filters = filters or Filters()
        return self._plan(filters, limit, lambda letter: None, None, sweep=not filters.any and limit is None)

    def purge(self, plan: Plan) -> Purged:
        """Mark the letters of a plan as handled, and have the broker delete what nobody needs any more.

        That is, in each of their partitions, what lies before the first letter that is not handled. Raises
        SomebodyElse, MapFull and BrokerSilent.
        """
        return purge(plan, self._notes, self._admin)

    def alone(self) -> AbstractContextManager[None]:
        """Be the only one who redrives or purges these letters until the end of the block.

        Raises SomebodyElse, which says who is at it already, after waiting for some seconds for one that was killed.
        """
        return alone(self._settings.cluster, self._admin, self.group, self.topics.dead)

    def forgets_after(self) -> tuple[float, float] | None:
        """Returns the days after which brokers forget what is handled, and those that letters are kept.

        None if letters are kept no longer than that.
        """
        return forgets_after(self._admin, self.topics.dead)

    def close(self) -> None:
        """Closes the Kafka clients."""
        self._notes.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes the Kafka clients."""
        self.close()

    def _regions(self, filters: Filters) -> list[_Region]:
        partitions = [each for each in self.topics.dead_partitions if filters.partition in {None, each}]
        if not partitions:
            raise FilterInvalid(
                f"{self.topics.dead!r} has no partition {filters.partition}: it has {len(self.topics.dead_partitions)},"
                " numbered from 0 on"
            )
        commits, bounds = self._notes.read(partitions), self._log.bounds(partitions)
        return [
            _Region(each, commits[each], self._notes.handled(each, commits[each], bounds[each][0]), *bounds[each])
            for each in partitions
        ]

    def _scan(
        self, region: _Region, filters: Filters, *, everything: bool, gaps: list[Range] | None = None
    ) -> Iterator[Letter]:
        """Yields the letters of a partition that match.

        gaps  is given the offsets (from, to before) that the log does not hold
        """
        start = region.start if everything else max(region.start, region.handled.watermark)
        end = region.end
        if filters.offset is not None:
            start, end = max(start, filters.offset), min(end, filters.offset + 1)
        if start >= end:
            return
        position = start
        for read in self._log.scan(region.partition, start, end):
            if gaps is not None and read.offset > position:
                gaps.append((position, read.offset))
            position = read.offset + 1
            handled = read.offset in region.handled
            if handled and not everything:
                continue
            letter = replace(read, type=self._payloads.type_of(read.value, dict(read.headers)), handled=handled)
            if filters.match(letter):
                yield letter

    def _plan(
        self, filters: Filters, limit: int | None, objection: _Objection, reviving: int | None, *, sweep: bool = False
    ) -> Plan:
        parts: list[Part] = []
        skipped: list[Skipped] = []
        left = limit
        for region in self._regions(filters):
            if left == 0:
                break
            gaps: list[Range] = []
            chosen: list[Candidate] = []
            for letter in self._scan(region, filters, everything=False, gaps=gaps):
                reason = objection(letter)
                if reason is None:
                    chosen.append(Candidate(letter.offset, letter.key, letter.origin))
                else:
                    skipped.append(Skipped(letter.place, letter.id, reason))
            offsets = in_publication_order(chosen)[:left]
            left = None if left is None else left - len(offsets)
            handled = region.handled.and_also(gaps)
            if offsets or (sweep and handled.watermark > region.start):
                parts.append(Part(region.partition, tuple(offsets), region.commit, handled, region.start))
        return Plan(tuple(parts), tuple(skipped), reviving=reviving)
