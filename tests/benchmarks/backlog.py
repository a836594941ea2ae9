"""Topics full of jobs for a benchmark, published by our own producer."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from producers import Cluster, JobProducer, ProducerSettings
from schemas import Codec
from schemas.models.email import SendEmail
from tests.benchmarks.contenders import note

KEYS = 1_000
VALUE_BYTES = 200
_RECIPIENT = "someone@example.org"
_SUBJECT_DIGITS = 20
#: What is left of the value for the text: not the framing, the other fields, nor the lengths of them all.
_TEXT_CHARACTERS = VALUE_BYTES - 10 - (1 + 1 + len(_RECIPIENT) + 1) - (1 + _SUBJECT_DIGITS) - 2 - 3
#: Texts are cut out of this one, so that they differ and compression has something to do.
_PROSE = secrets.token_hex(50_000)


@contextmanager
def queue(bootstrap: str, name: str, partitions: int) -> Iterator[str]:
    """A namespace in which a queue's topic exists; its topics are removed at the end."""
    admin = AdminClient(dict(_cluster(bootstrap).client_config()), logger=None)
    namespace = f"bench-{secrets.token_hex(4)}"
    _await(admin.create_topics([NewTopic(f"{namespace}.{name}", partitions, -1)]))
    try:
        yield namespace
    finally:
        topics = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(f"{namespace}.")]
        if topics:  # A broker that has only just made them may not list them yet.
            _await(admin.delete_topics(topics))


def producer(bootstrap: str, namespace: str, codec: Codec | None = None) -> JobProducer:
    """Our producer, as a service would use it."""
    return JobProducer(ProducerSettings(bootstrap_servers=bootstrap, namespace=namespace), codec=codec)


def payload(number: int) -> SendEmail:
    """A job of 200 bytes; its number is its subject."""
    start = number * 7 % (len(_PROSE) - _TEXT_CHARACTERS)
    text = _PROSE[start : start + _TEXT_CHARACTERS]
    return SendEmail(to=[_RECIPIENT], subject=f"{number:0{_SUBJECT_DIGITS}}", text=text)


def publish(
    bootstrap: str, namespace: str, name: str, jobs: int, *, keys: int = KEYS, codec: Codec | None = None
) -> None:
    """Publish jobs to a queue, their keys taking turns (none where `keys` is 0), until the broker has them all."""
    note(f"publishing {jobs:,} jobs of {VALUE_BYTES} bytes")
    names: list[str | None] = [f"key-{number}" for number in range(keys)] or [None]
    with producer(bootstrap, namespace, codec) as publisher:
        for number in range(jobs):
            publisher.publish(payload(number), key=names[number % len(names)], queue=name)


def _cluster(bootstrap: str) -> Cluster:
    return Cluster(bootstrap_servers=bootstrap)


def _await(requested: dict[str, Future[None]]) -> None:
    for future in requested.values():
        future.result()
