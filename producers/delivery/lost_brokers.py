"""Finds out that a Kafka client knows no broker any more: it never sends again, and says nothing of it.

librdkafka (2.16) gives up a broker that its cluster does not list, as the only one of a cluster that shuts down or has
just started does not list itself. It goes back to the bootstrap servers when its last connection ends, but for one that
has ended a moment before, or is ending.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from producers.cluster import ClientConfig

_SETUP = "socket.connection.setup.timeout.ms"
#: A connection that does not come about within ten seconds is tried again; librdkafka itself waits for thirty.
OPTIONS: ClientConfig = {_SETUP: 10_000}

#: Seconds in which a client that knows a broker answers, or fails otherwise.
_PATIENCE = 1.0

#: How much longer than for a connection a client must have been silent. Seconds.
_LONGER = 5.0

#: Seconds between two looks at a client that nobody polls steadily: whoever begins to has only begun to wait.
_STEADILY = 2.0


class Silence:
    """For how long a client that has something on its way has brought neither a report nor an error.

    One that does not reach a broker tells of each try, so that whoever is silent for longer than a try may take is
    waiting for an answer, or does not try any more.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config` is the client's."""
        self._long = float({**OPTIONS, **config}[_SETUP]) / 1000 + _LONGER
        self._since = self._looked = monotonic()

    def over(self) -> None:
        """Note that a report has come, or that none is to be expected."""
        self._since = self._looked = monotonic()

    def is_long(self, complained: float) -> bool:
        """Note that no report has come though one is to be expected. Returns whether it is time to ask why, now and
        then.

        complained  when the client has last told of an error; monotonic
        """
        now = monotonic()
        if now - self._looked > _STEADILY:
            self._since = now
        self._looked = now
        if now - max(self._since, complained) < self._long:
            return False
        self._since = now
        return True


def end_without_brokers(producer: Producer) -> KafkaError | None:
    """Ask a client whether it knows a broker. Returns what ends it if it knows none. Blocks for a second at the most.

    One whose brokers cannot be reached says the same, so only who has heard nothing of that for long is to ask.
    """
    try:
        producer.list_topics(timeout=_PATIENCE)
    except KafkaException as raised:
        error: KafkaError = raised.args[0]
        if error.code() == KafkaError._TRANSPORT:
            return KafkaError(KafkaError._ALL_BROKERS_DOWN, "it has lost sight of all brokers")
    return None
