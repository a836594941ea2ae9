"""How long the broker takes to answer a commit, measured beside a test: a worker's own commits take no less."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise

from confluent_kafka import Consumer, TopicPartition

from tests.ledger import SECOND


class Answers:
    """When commits were answered, by CLOCK_MONOTONIC, in nanoseconds."""

    def __init__(self) -> None:
        self._times: list[int] = []

    def note(self, at: int) -> None:
        self._times.append(at)

    def slowest(self, since: int, until: int) -> float:
        """The longest time without an answer, of those that reach into a span of time. Seconds."""
        ends = [at for at in self._times if at < until] + [until]
        return max(end - before for before, end in pairwise(ends) if end > since) / SECOND


@contextmanager
def answers(bootstrap: str, topic: str, *, group: str) -> Iterator[Answers]:
    """Commit to a topic's first partition as another group, again and again, until the end of the block."""
    enough = threading.Event()
    found = Answers()
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})

    def work() -> None:
        while not enough.wait(0.005):
            consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
            found.note(time.monotonic_ns())

    thread = threading.Thread(target=work, name="answers")
    with closing(consumer):
        thread.start()
        try:
            yield found
        finally:
            enough.set()
            thread.join()
