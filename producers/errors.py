"""Everything that `producers` raises, besides schemas.PayloadInvalid and pydantic's ValidationError.

ProducersError
├── JobRefused             a job cannot be published as asked; nothing was sent
│   ├── PayloadTooLarge    names the limit
│   └── OptionInvalid      names the option, and what is expected of it
├── DeliveryFailed         a job did not reach its topic; names the cause and the remedy
├── DeliveriesFailed       several did not; holds their DeliveryFailed
├── DeliveryPending        not delivered within the time given; still under way
├── ProducerBroken         the client has failed for good: a new producer is needed
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
    """Raised when a job did not reach its topic."""

    def __init__(self, job_id: str, topic: str, cause: str, remedy: str) -> None:
        self.job_id = job_id
        self.topic = topic
        self.cause = cause
        self.remedy = remedy
        super().__init__(f"job {job_id} was not delivered to {topic}: {cause}; {remedy}")


class DeliveriesFailed(ProducersError):
    """Raised when several jobs did not reach their topics; `failures` holds the first of them, `count` counts all."""

    def __init__(self, failures: Sequence[DeliveryFailed], count: int) -> None:
        self.failures = tuple(failures)
        self.count = count
        super().__init__(f"{count:,} jobs were not delivered; the first: {failures[0]}")


class DeliveryPending(ProducersError, TimeoutError):
    """Raised when the time given has passed; delivery goes on, and its outcome can be asked for again."""


class ProducerBroken(ProducersError):
    """Raised when the client has failed for good; the job at hand has not been sent."""


class ProducerClosed(ProducersError):
    """Raised when a producer is used after its end; the job at hand has not been sent."""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
