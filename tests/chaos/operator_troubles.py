"""What operators do meanwhile: they send dead letters back, and purge them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from confluent_kafka import KafkaException

from tests.chaos.account import Operation, Span
from tests.chaos.course import Say, Wait
from tests.chaos.records import DeadLetters, identity
from tests.chaos.rules import MAX_REDRIVES
from tests.chaos.schedule import Disturbance, Kind
from tests.workers import Workers

#: Seconds that a command may take.
_WITHIN = 120.0
#: Seconds that a letter must have been there to be purged: younger ones nobody might have seen before.
_AGE = 30


class OperatorTroubles:
    """Runs one command at a time, on one queue."""

    def __init__(self, letters: DeadLetters, queues: Sequence[str], workers: Workers, say: Say) -> None:
        self._letters = letters
        self._queues = queues
        self._workers = workers
        self._say = say
        #: Commands that said that they had done what they were asked to.
        self.done: list[Operation] = []
        #: Those that did not, and may have done a part of it.
        self.tried: list[Operation] = []

    def happen(self, what: Disturbance, wait: Wait) -> None:
        del wait
        queue = self._queues[int(what.luck * len(self._queues))]
        begin, before = time.monotonic_ns(), time.time() - (_AGE if what.kind is Kind.PURGE else 0)
        if what.kind is Kind.PURGE:
            until = datetime.fromtimestamp(before, UTC).isoformat()
            command: tuple[str, ...] = ("dead", "purge", queue, "--yes", "--until", until)
        else:
            command = ("dead", "redrive", queue, "--yes", "--max-redrives", str(MAX_REDRIVES))
        try:
            found = self._letters.look(queue)
        except KafkaException:
            return
        concerned = frozenset(identity(letter) for letter in found if letter.timestamp < before * 1000)
        code, said = self._workers.command(*command, within=_WITHIN)
        self._say(f"{' '.join(command[:3])}, {len(concerned)} letters: {code}, {said.strip()[-200:]}")
        operation = Operation(what.kind is Kind.PURGE, queue, concerned, Span(begin, time.monotonic_ns()))
        (self.tried if code else self.done).append(operation)
