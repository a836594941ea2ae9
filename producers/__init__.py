"""Publish jobs to Kafka from any microservice."""

from producers import neighbours as _neighbours  # noqa: F401 - raises where the imports below would find somebody else's packages

# isort: split
from producers.async_producer import AsyncJobHandle, AsyncJobProducer
from producers.cluster import Cluster
from producers.delayed.delayed_jobs import DelayedJobs
from producers.delayed.waiting_job import WaitingJob
from producers.delivery.handle import JobHandle, LogPosition
from producers.errors import (
    DelayedJobsUnreachable,
    DeliveriesFailed,
    DeliveryFailed,
    DeliveryPending,
    JobRefused,
    NotWaiting,
    OptionInvalid,
    PayloadTooLarge,
    ProducerBroken,
    ProducerClosed,
    ProducersError,
)
from producers.producer import JobProducer
from producers.publish_options import PublishOptions, SharedOptions
from producers.record import JobRecord, compose
from producers.settings import ProducerSettings
from schemas.errors import PayloadInvalid

__all__ = [
    "AsyncJobHandle",
    "AsyncJobProducer",
    "Cluster",
    "DelayedJobs",
    "DelayedJobsUnreachable",
    "DeliveriesFailed",
    "DeliveryFailed",
    "DeliveryPending",
    "JobHandle",
    "JobProducer",
    "JobRecord",
    "JobRefused",
    "LogPosition",
    "NotWaiting",
    "OptionInvalid",
    "PayloadInvalid",
    "PayloadTooLarge",
    "ProducerBroken",
    "ProducerClosed",
    "ProducerSettings",
    "ProducersError",
    "PublishOptions",
    "SharedOptions",
    "WaitingJob",
    "compose",
]
