"""Real Kafka brokers for tests: given from outside, in a container, or embedded in a local JVM."""

from __future__ import annotations

import os
from typing import Literal

from tests.brokers.base import Broker, ExternalBroker
from tests.brokers.cluster import Cluster
from tests.brokers.container import IMAGES, ContainerBroker, kafka_image
from tests.brokers.embedded import EmbeddedBroker
from tests.brokers.secure import SecureBroker

__all__ = ["Broker", "Cluster", "EmbeddedBroker", "Kind", "SecureBroker", "private_broker", "shared_broker"]

Kind = Literal["external", "container", "embedded"]


def shared_broker(wanted: Kind | None = None) -> Broker:
    """The broker of a test session: the wanted kind, else the first that can be had."""
    external = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if wanted == "external" or (wanted is None and external):
        if not external:
            raise RuntimeError("set KAFKA_BOOTSTRAP_SERVERS to test against an external broker")
        return ExternalBroker(external)
    return private_broker(wanted)


def private_broker(wanted: Kind | None = None) -> Broker:
    """A broker of one's own, which may be stopped and killed: in a container where possible, else embedded."""
    image = None if wanted == "embedded" else kafka_image()
    if image is not None:
        return ContainerBroker(image)
    if wanted == "container":
        raise RuntimeError(f"no Docker engine answers or it has no image of {IMAGES}: run `make images`")
    return EmbeddedBroker()
