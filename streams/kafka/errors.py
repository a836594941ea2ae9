"""Errors of the Kafka client that writes and administers, and how soon a broker is asked again."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

#: Seconds before a broker that has refused something, or not answered, is asked again.
RETRY_AFTER = 1.0


def kafka_error(raised: BaseException) -> KafkaError:
    """The error that a KafkaException carries; one of code _FAIL, with its words, where it carries none."""
    error = raised.args[0] if raised.args else None
    return error if isinstance(error, KafkaError) else KafkaError(KafkaError._FAIL, str(raised))


def reason(raised: KafkaException) -> str:
    """The client's own words for an error."""
    return kafka_error(raised).str()
