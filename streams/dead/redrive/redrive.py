"""Sends dead letters back to their queue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

from schemas.headers import Origin
from streams.dead.errors import DeadError
from streams.dead.handled.notes import GroupCommit, Notes
from streams.dead.handled.offsets import Handled
from streams.dead.letter import Letter
from streams.dead.redrive.headers import headers_for_return
from streams.dead.redrive.pace import Pace
from streams.dead.redrive.plan import Part, Plan, Skipped, map_full
from streams.dead.redrive.publisher import Publisher
from streams.dead.topic.reader import DeadLog

#: Letters that are published before they are noted: what a redrive that is killed repeats at the most.
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of one chunk: it is noted."""

    partition: int
    #: Letters that are back in the queue.
    sent: int
    #: Letters that its topic does not take.
    refused: tuple[Skipped, ...] = ()
    #: Letters that had left the log by then.
    gone: int = 0


class Redrive:
    """One run of a plan. It owns none of what it is given."""

    def __init__(self, plan: Plan, log: DeadLog, notes: Notes, publisher: Publisher, *, pace: Pace, chunk: int) -> None:
        self._plan = plan
        self._log = log
        self._notes = notes
        self._publisher = publisher
        self._pace = pace
        # Each second is noted, however slow it goes.
        self._chunk = chunk if pace.rate is None else max(1, min(chunk, int(pace.rate)))
        self._claim = uuid4().hex[:8]

    def run(self) -> Iterator[Progress]:
        """Deal with one chunk at each step. Raises DeadError; what was acknowledged is noted then, too."""
        commits = {part.partition: self._take(part) for part in self._plan.parts}
        for part in self._plan.parts:
            commit, handled = commits[part.partition], part.handled
            for at in range(0, len(part.offsets), self._chunk):
                offsets = part.offsets[at : at + self._chunk]
                if not handled.and_offsets(offsets).fits(len(offsets)):
                    raise map_full(self._notes.topic, part.partition, handled)
                # Whoever has taken over sends these letters: they must not be sent here as well.
                self._notes.check(part.partition, commit)
                letters = self._log.fetch(part.partition, offsets)
                gone = [offset for offset in offsets if offset not in letters]
                try:
                    self._publish([letters[offset] for offset in offsets if offset in letters])
                finally:
                    handled, commit = self._note(part.partition, handled, gone, commit)
                yield self._progress(part.partition, letters, gone)

    def _take(self, part: Part) -> GroupCommit:
        """Claim a partition, so that a redrive that is at it stops."""
        return self._notes.write(part.partition, part.handled, self._claim, expected=part.commit)

    def _publish(self, letters: list[Letter]) -> None:
        self._publisher.begin()
        try:
            for letter in letters:
                self._pace.wait()
                self._publisher.send(letter, headers_for_return(letter, keep_expiry=not self._plan.revives(letter)))
        finally:
            # Also when somebody has pressed Ctrl-C: what is under way arrives, and is noted.
            self._publisher.finish()

    def _note(
        self, partition: int, handled: Handled, gone: list[int], commit: GroupCommit
    ) -> tuple[Handled, GroupCommit]:
        sent = self._publisher.acknowledged
        handled = handled.and_offsets([*sent, *gone])
        try:
            return handled, self._notes.write(partition, handled, self._claim, expected=commit)
        except DeadError as error:
            raise type(error)(
                f"{error}. {len(sent)} letters that were just sent are not noted as handled: they may be sent"
                " once more, and their jobs run twice"
            ) from error

    def _progress(self, partition: int, letters: dict[int, Letter], gone: list[int]) -> Progress:
        refused = tuple(
            Skipped(
                Origin(self._log.topic, partition, offset), letters[offset].id, f"the queue does not take it: {why}"
            )
            for offset, why in self._publisher.refused.items()
        )
        return Progress(partition, len(self._publisher.acknowledged), refused, len(gone))
