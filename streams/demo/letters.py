"""Reads a dead letter from its topic."""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from typing import cast

from confluent_kafka import Consumer, Message, TopicPartition

from producers import Cluster
from schemas.headers import CE_ID, ERROR_MESSAGE, ERROR_TYPE, ORIGIN, Headers
from streams.demo.errors import DemoFailed

_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter's reason."""

    topic: str
    origin: str
    error_type: str
    message: str


def read_letter(cluster: Cluster, topic: str, job_id: str, since: float) -> DeadLetter:
    """Find a job's dead letter among those written since an epoch time in seconds. Blocks; raises DemoFailed."""
    options = {**cluster.client_config(), "group.id": f"demo-{uuid.uuid4()}", "enable.auto.commit": False}
    give_up = time.monotonic() + _SECONDS
    with closing(Consumer(options)) as consumer:
        consumer.assign(_starts(consumer, topic, since))
        while time.monotonic() < give_up:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                headers = _headers(message)
                if headers.get(CE_ID) == job_id:
                    return DeadLetter(topic, headers[ORIGIN], headers[ERROR_TYPE], headers[ERROR_MESSAGE])
    raise DemoFailed(f"no dead letter of job {job_id} appeared on {topic} within {_SECONDS:.0f} s")


def _starts(consumer: Consumer, topic: str, since: float) -> list[TopicPartition]:
    partitions = consumer.list_topics(topic, timeout=_SECONDS).topics[topic].partitions
    moment = int(since * 1000)
    return consumer.offsets_for_times([TopicPartition(topic, number, moment) for number in partitions], _SECONDS)


def _headers(message: Message) -> dict[str, str]:
    # The stubs allow for dicts and text, as producers may give them; a consumer gets pairs with bytes.
    pairs = cast(Headers, message.headers() or [])
    return {name: (value or b"").decode("utf-8", "replace") for name, value in pairs}
