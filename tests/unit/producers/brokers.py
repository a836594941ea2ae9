"""Producers on a broker that answers with errors on demand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from producers import ProducerSettings
from schemas.models.email import SendEmail
from tests.mock_cluster import MockCluster

NAMESPACE = "mocked"

#: More than anything here takes. Seconds.
WITHIN = 30.0


@contextmanager
def mocked() -> Iterator[MockCluster]:
    """A broker with the topic of the queue "email"."""
    with closing(MockCluster(f"{NAMESPACE}.email")) as broker:
        yield broker


def settings(broker: MockCluster, **other: Any) -> ProducerSettings:
    return ProducerSettings(bootstrap_servers=broker.bootstrap, namespace=NAMESPACE, source="tests", **other)


def email(number: int = 0) -> SendEmail:
    return SendEmail(to=["someone@example.org"], subject=str(number), text="")
