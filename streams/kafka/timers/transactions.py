"""Writes what falls due in Kafka transactions, with one transactional id for each partition of the delayed jobs' topic.

Who begins to write for a partition has its coordinator end whatever transaction an earlier owner has left open, and
refuse all further ones of it (KIP-98): one that was expelled from the group, and does not know it yet, commits nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from producers.cluster import Cluster
from producers.delivery import lost_brokers
from producers.delivery.client_config import PROMISES
from streams.kafka.errors import kafka_error, reason
from streams.ports.records import OutgoingRecord
from streams.ports.timers import RecordsRefused, Refused, TransactionFailed

logger = logging.getLogger(__name__)

#: How long the broker leaves a transaction open of whose writer it hears nothing. What comes behind it in its topics is
#: not read meanwhile. Milliseconds.
TIMEOUT_MS = 10_000

#: Seconds that one call may take, and for how long what was found of a topic is relied on.
_CALL = 5.0
_KNOWN_FOR = 60.0

#: This very record is not taken, now or ever.
_FOR_GOOD = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG})

#: Somebody has to allow it.
_FORBIDDEN = frozenset(
    {
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    }
)


class KafkaTransactions:
    """The transactional clients of a worker's partitions of the delayed jobs' topic. Belongs to one thread.

    topic  of delayed jobs, after which the transactional ids are named: <topic>-<partition>
    """

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._topic = topic
        self._config: dict[str, Any] = {
            **PROMISES,
            **lost_brokers.OPTIONS,
            **cluster.client_config(),
            "client.id": "streams-timekeeper",
            "compression.type": "lz4",
            "linger.ms": 1,
            "transaction.timeout.ms": TIMEOUT_MS,
            "message.timeout.ms": TIMEOUT_MS,
            "topic.metadata.propagation.max.ms": 1_000,
            "message.max.bytes": 1_000_000_000,
            "queue.buffering.max.messages": 0,
        }
        self._clients: dict[int, Producer] = {}
        #: When it was last found that a topic is there.
        self._seen: dict[str, float] = {}

    def begin(self, partition: int) -> None:
        """Make this process the only one that writes for a partition. Raises TransactionFailed."""
        self.end(partition)
        name = f"{self._topic}-{partition}"
        try:
            client = Producer({**self._config, "transactional.id": name}, logger=logger)
            client.init_transactions(_CALL)
        except KafkaException as error:
            raise _failed(error, name) from error
        self._clients[partition] = client

    def end(self, partition: int) -> None:
        """Write no more for a partition."""
        client = self._clients.pop(partition, None)
        if client is not None:
            client.purge()

    def commit(self, partition: int, records: Sequence[OutgoingRecord]) -> int | None:
        """Write all these records in one transaction; returns the offset of the last one, if it is known, when it is
        committed. Raises RecordsRefused, and TransactionFailed."""
        client = self._clients.get(partition)
        if client is None:
            raise TransactionFailed("the partition is not this worker's")
        self._refuse_unknown(client, records)
        last: list[int | None] = []
        if self._write(client, partition, records, last):
            return last[0] if last else None
        # Which records were not taken is asked for only now: the answers to each would cost a third of the time.
        refused: dict[int, Refused] = {}
        if not self._write(client, partition, records, last, refused):
            if not refused:
                raise TransactionFailed("the broker has not taken all records, and does not say which")
            self._seen.clear()
            raise RecordsRefused(refused)
        return last[0] if last else None

    def _refuse_unknown(self, client: Producer, records: Sequence[OutgoingRecord]) -> None:
        """Raise RecordsRefused for records whose topics are not there: to write them would hold up all others."""
        now = monotonic()
        missing: dict[str, str] = {}
        for topic in {record.topic for record in records}:
            if now - self._seen.get(topic, -_KNOWN_FOR) < _KNOWN_FOR:
                continue
            try:
                found = client.list_topics(topic, timeout=_CALL).topics[topic].error
            except KafkaException as error:
                raise _failed(error, topic) from error
            if found is None:
                self._seen[topic] = now
            else:
                missing[topic] = f"{topic} is not there ({found.str()}); a worker that serves the queue creates it"
        if missing:
            raise RecordsRefused(
                {
                    at: Refused(missing[record.topic], for_good=False)
                    for at, record in enumerate(records)
                    if record.topic in missing
                }
            )

    def _write(
        self,
        client: Producer,
        partition: int,
        records: Sequence[OutgoingRecord],
        last: list[int | None],
        refused: dict[int, Refused] | None = None,
    ) -> bool:
        """Write all records in one transaction. Returns False if it was aborted; raises TransactionFailed.

        last     takes the offset of the last record
        refused  takes which records were not taken, and why, where it is not None
        """
        name = f"{self._topic}-{partition}"
        try:
            client.begin_transaction()
            for at, (topic, key, value, headers, number, timestamp, _) in enumerate(records):
                told: Any = None if refused is None else partial(_note, refused, at)
                if refused is None and at == len(records) - 1:
                    told = partial(_note_offset, last)
                client.produce(topic, value, key, -1 if number is None else number, told, None, timestamp, headers)
            _until_done(client.commit_transaction)
        except KafkaException as error:
            self._seen.clear()  # A topic may have been deleted.
            if not kafka_error(error).txn_requires_abort():
                self.end(partition)
                raise _failed(error, name) from error
        else:
            return True
        try:
            _until_done(client.abort_transaction)
        except KafkaException as error:
            self.end(partition)
            raise _failed(error, name) from error
        return False


def _until_done(call: Any) -> None:
    """End a transaction; asks again while the answer is that it is to be asked again."""
    give_up = monotonic() + TIMEOUT_MS / 1000
    while True:
        try:
            call(_CALL)
        except KafkaException as error:
            if not kafka_error(error).retriable() or monotonic() > give_up:
                raise
        else:
            return


def _note_offset(last: list[int | None], error: KafkaError | None, message: Any) -> None:
    offset = None if error is not None else message.offset()
    # An answer to what was sent again may not tell it.
    last[:] = [offset if offset is not None and offset >= 0 else None]


def _note(refused: dict[int, Refused], at: int, error: KafkaError | None, _message: Any) -> None:
    # What the client gives up because of another record, or by an abort, was not refused.
    if error is not None and error.code() not in {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}:
        refused[at] = Refused(error.str(), for_good=error.code() in _FOR_GOOD)


def _failed(error: KafkaException, what: str) -> TransactionFailed:
    found = kafka_error(error)
    if found.code() in _FORBIDDEN:
        return TransactionFailed(
            f"this user may not write in transactions ({found.str()}): allow it Write and Describe on the transactional"
            f" id {what}, and IdempotentWrite where brokers are older than 3.0",
            lasting=True,
        )
    if found.code() in {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}:
        return TransactionFailed("another worker has the partition by now")
    if found.code() in {KafkaError._TIMED_OUT, KafkaError.COORDINATOR_NOT_AVAILABLE}:
        return TransactionFailed(
            f"no coordinator of transactions answers ({reason(error)}): it needs the topic __transaction_state, for"
            " which a cluster must have transaction.state.log.replication.factor brokers"
        )
    return TransactionFailed(reason(error))
