"""Everything that `producers` raises, besides schemas.PayloadInvalid and pydantic's ValidationError.

ProducersError
├── JobRefused             a job cannot be published as asked; nothing was sent
│   ├── PayloadTooLarge    names the limit
│   └── OptionInvalid      names the option, and what is expected of it
├── DeliveryFailed         a job was not confirmed by the broker; names the cause and the remedy
├── DeliveriesFailed       several were not; holds their DeliveryFailed
├── NotWaiting             no delayed job of this id waits
├── DelayedJobsUnreachable the topic of delayed jobs cannot be read
├── DeliveryPending        not delivered within the time given; still under way
├── ProducerBroken         the Kafka client does not take a job, for a reason that nobody has foreseen
└── ProducerClosed         the producer was used after its end
"""

from collections.abc import Sequence


class ProducersError(Exception):
    """Base of all errors of this package."""


class JobRefused(ProducersError, ValueError):
    """Raised when a job cannot be published as asked; nothing has been sent."""


class PayloadTooLarge(JobRefused):
    """Raised when a record is larger than a record may be; sizes are bytes before compression."""

    def __init__(self, job_type: str, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"{job_type}: the record takes {size:,} bytes, the limit is {limit:,}: store the bulk elsewhere and "
            "publish where it is, or raise KAFKA_MESSAGE_MAX_BYTES together with the topics' max.message.bytes"
        )


class OptionInvalid(JobRefused):
    """Raised when an option of a job or of a producer cannot be used."""

    def __init__(self, option: str, expected: str, got: object) -> None:
        self.option = option
        super().__init__(f"{option}: expected {expected}, got {_shown(got)}")


class DeliveryFailed(ProducersError):
    """Raised when the broker has not confirmed that a job lies in its topic.

    `may_be_written` says whether it may lie there all the same, as after a broken connection, or was refused for sure.
    A job of which that is not known is never sent again by the producer itself, since it might run twice: publish it
    again under the same id if that is better than that it does not run.
    """

    def __init__(self, job_id: str, topic: str, cause: str, remedy: str, *, may_be_written: bool) -> None:
        self.job_id = job_id
        self.topic = topic
        self.cause = cause
        self.remedy = remedy
        self.may_be_written = may_be_written
        verb = "may not have been" if may_be_written else "was not"
        super().__init__(f"job {job_id} {verb} delivered to {topic}: {cause}; {remedy}")


class DeliveriesFailed(ProducersError):
    """Raised when several jobs did not reach their topics; `failures` holds the first of them, `count` counts all."""

    def __init__(self, failures: Sequence[DeliveryFailed], count: int) -> None:
        self.failures = tuple(failures)
        self.count = count
        verb = "may not have been" if any(failure.may_be_written for failure in failures) else "were not"
        super().__init__(f"{count:,} jobs {verb} delivered; the first: {failures[0]}")


class DeliveryPending(ProducersError, TimeoutError):
    """Raised when the time given has passed; delivery goes on, and its outcome can be asked for again."""


class NotWaiting(ProducersError, LookupError):
    """Raised when no delayed job of an id waits: it has gone to its queue, was cancelled, or never was."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(
            f"no delayed job {job_id!r} waits: it has gone to its queue, was cancelled, or there was never one; list()"
            " and `faust -A streams delayed list` show those that wait"
        )


class DelayedJobsUnreachable(ProducersError):
    """Raised when the topic of delayed jobs cannot be read."""

    def __init__(self, topic: str, cause: str, servers: str) -> None:
        self.topic = topic
        super().__init__(
            f"{topic} cannot be read at {servers}: {cause}; check KAFKA_BOOTSTRAP_SERVERS, the KAFKA_* login settings"
            " and STREAMS_NAMESPACE"
        )


class ProducerBroken(ProducersError):
    """Raised when the Kafka client does not take a job, for a reason of its own; the job has not been sent."""


class ProducerClosed(ProducersError):
    """Raised when a producer is used after its end; the job at hand has not been sent."""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
