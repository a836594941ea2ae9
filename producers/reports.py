"""Turns what librdkafka reports into errors that name the remedy."""

from confluent_kafka import KafkaError

from producers.errors import DeliveryFailed

_UNKNOWN_TOPIC = "create the topic, or start a worker that serves the queue: it creates what is missing"
_REMEDIES = {
    KafkaError._UNKNOWN_TOPIC: _UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART: _UNKNOWN_TOPIC,
    KafkaError._MSG_TIMED_OUT: (
        "check that KAFKA_BOOTSTRAP_SERVERS can be reached, then publish it again under the same id: "
        "it may have been written all the same"
    ),
    KafkaError.MSG_SIZE_TOO_LARGE: "raise the topic's max.message.bytes, or lower KAFKA_MESSAGE_MAX_BYTES",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "allow this user to write to the topic",
    KafkaError._PURGE_QUEUE: "it was still in the buffer when the producer was abandoned; publish it again",
    KafkaError._PURGE_INFLIGHT: "the producer was abandoned while it was under way; publish it again under the same id",
}


def failure_of(job_id: str, topic: str, error: KafkaError) -> DeliveryFailed:
    """Return the failure of one job."""
    remedy = _REMEDIES.get(error.code(), "publish it again under the same id once the cause is gone")
    return DeliveryFailed(job_id, topic, f"{error.name()} ({error.str()})", remedy)
