"""Turns what librdkafka reports into errors that name the remedy."""

from confluent_kafka import KafkaError

from producers.errors import DeliveryFailed

_UNKNOWN_TOPIC = "create the topic, or start a worker that serves the queue: it creates what is missing"
_MAY_BE_WRITTEN = "publish it again under the same id: it may have been written all the same"
_TOO_LARGE = (
    "raise the topic's max.message.bytes, or lower KAFKA_MESSAGE_MAX_BYTES to it: the topic refuses a whole batch that "
    "is larger, also where each of its records is small enough"
)

#: What brokers, or the client on their word, refuse for good; such a record is not in the log.
REFUSALS = {
    KafkaError._UNKNOWN_TOPIC: _UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION: _UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART: _UNKNOWN_TOPIC,
    KafkaError.TOPIC_EXCEPTION: "check STREAMS_NAMESPACE and the queue's name: no topic can be called so",
    KafkaError.MSG_SIZE_TOO_LARGE: _TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE: _TOO_LARGE,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "allow this user Write and Describe on the topic",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "allow this user Write on the topic, or IdempotentWrite on the cluster",
    KafkaError.INVALID_RECORD: "the topic's settings refuse such records: see the broker's log",
    KafkaError.POLICY_VIOLATION: "a policy of the cluster refuses such records: ask those who run it",
}
_PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
_REACH = "check that KAFKA_BOOTSTRAP_SERVERS can be reached, then "


def failure_of(job_id: str, topic: str, error: KafkaError, reason: str | None = None) -> DeliveryFailed:
    """Return the failure of one job; `reason` says why nothing at all is delivered, if that is known."""
    code = error.code()
    cause = f"{error.name()} ({error.str()})"
    if code in REFUSALS:
        return DeliveryFailed(job_id, topic, cause, REFUSALS[code], may_be_written=False)
    remedy = _MAY_BE_WRITTEN
    if code == KafkaError._MSG_TIMED_OUT:
        remedy = _REACH + remedy
    elif code not in _PURGED and reason is None:
        remedy = f"once the cause is gone, {remedy}"
    if reason is not None:
        cause = reason if code in _PURGED else f"{cause}: {reason}"
    return DeliveryFailed(job_id, topic, cause, remedy, may_be_written=True)


def lost_report(job_id: str, topic: str) -> DeliveryFailed:
    """Return the failure of a job of which nobody will ever say what has become of it."""
    return DeliveryFailed(
        job_id,
        topic,
        "its report is lost, as by Ctrl-C, or where it was published by the process that this one was forked from",
        "look for it in the topic, or publish it again under the same id: it may have been written",
        may_be_written=True,
    )


def is_of_the_topic(error: KafkaError) -> bool:
    """Whether an error at publishing means that the topic takes no such record, as far as the client knows."""
    return error.code() in REFUSALS
