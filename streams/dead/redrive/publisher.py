"""Publishes letters to their queue and waits for the broker's word on each."""

from __future__ import annotations

import logging
import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from producers.delivery.client_config import PROMISES
from producers.settings import ProducerSettings
from streams.dead.errors import DeliveryStopped
from streams.dead.letter import Letter

logger = logging.getLogger(__name__)

#: What is wrong with one record only.
_REFUSALS = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG})

_ANYWHERE = -1  # librdkafka's RD_KAFKA_PARTITION_UA: by key

Headers = list[tuple[str, str | bytes | None]]


class Publisher:
    """Sends the letters of one chunk after another to a topic with so many partitions."""

    def __init__(self, settings: ProducerSettings, topic: str, partitions: int) -> None:
        self._topic = topic
        self._partitions = partitions
        #: Seconds without any acknowledgement after which the rest is called off.
        self._patience = settings.delivery_timeout_ms / 1000
        #: Offsets of the letters of this chunk that the broker has acknowledged.
        self.acknowledged: list[int] = []
        #: Those it will never take, and why.
        self.refused: dict[int, str] = {}
        self._failure: str | None = None
        #: Letters that were under way when the rest was called off.
        self._uncertain = 0
        config: dict[str, Any] = {
            **PROMISES,
            **settings.client_config(),
            "client.id": "streams-dead",
            "compression.type": "lz4",
            "linger.ms": 5,
            "topic.metadata.propagation.max.ms": 5_000,
            # What was small enough to be read must not be too large to be written: only the topic's limit counts.
            "message.max.bytes": 1_000_000_000,
            # The client gives up no record by itself, since the later ones of its key would overtake it. Whoever waits
            # calls all of them off together.
            "delivery.timeout.ms": 0,
        }
        self._producer = Producer(config, logger=logger)

    def begin(self) -> None:
        """Begin a chunk."""
        self.acknowledged, self.refused = [], {}

    def send(self, letter: Letter, headers: Headers) -> None:
        """Put a letter into the client's buffer."""
        partition = letter.partition if letter.partition < self._partitions else _ANYWHERE
        offset = letter.offset

        def delivered(error: KafkaError | None, _message: object) -> None:
            self._settle(offset, error)

        while True:
            try:
                self._producer.produce(
                    self._topic, letter.value, letter.key, partition, headers=headers, on_delivery=delivered
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                delivered(error.args[0], None)
                return
            else:
                self._producer.poll(0)
                return

    def finish(self) -> None:
        """Return when every letter of the chunk has its outcome; raises DeliveryStopped if that will not come."""
        left = self._wait()
        if left:
            self._failure = self._failure or f"no acknowledgement within {self._patience:g} s"
            self._producer.purge()
            self._producer.flush(1.0)
        if self._failure is not None:
            raise DeliveryStopped(
                f"{self._topic!r} takes no more letters: {self._failure}. What it has acknowledged is noted; of the"
                f" last chunk {self._uncertain:,} more may have reached it, and would be sent once more. Look after"
                " the broker, then start again: what is left goes on from there"
            )

    def _wait(self) -> int:
        """Wait until all letters have an outcome, or none comes any more; returns how many have none."""
        left = len(self._producer)
        give_up = time.monotonic() + self._patience
        while left and self._failure is None and time.monotonic() < give_up:
            before, left = left, self._producer.flush(0.2)
            if left < before:
                give_up = time.monotonic() + self._patience
        return left

    def _settle(self, offset: int, error: KafkaError | None) -> None:
        if error is None:
            self.acknowledged.append(offset)
        elif error.code() in _REFUSALS and not error.fatal():
            self.refused[offset] = error.str()
        elif error.code() == KafkaError._PURGE_INFLIGHT:
            self._uncertain += 1
        elif self._failure is None:
            self._failure = error.str()
