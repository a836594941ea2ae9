"""A queue of the demonstration's own, whose jobs come back soon after a failure."""

from __future__ import annotations

from schemas.models.webhook import DeliverWebhook
from streams import Fixed, Queue, RetryPolicy
from streams.jobs.webhook import deliver_webhook

#: The shipped queues' waits grow to an hour, which is more than anybody watches.
RETRY = RetryPolicy(max_attempts=4, backoff=Fixed(1.5), jitter="none")

unsteady = Queue("unsteady", partitions=3, retry=RETRY)
unsteady.job(DeliverWebhook, timeout=30)(deliver_webhook)
