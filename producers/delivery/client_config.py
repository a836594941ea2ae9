"""The configuration of the Kafka client under a producer."""

from collections.abc import Mapping

from producers.cluster import ClientConfig
from producers.delivery import lost_brokers
from producers.errors import OptionInvalid
from producers.settings import ProducerSettings

ClientOptions = Mapping[str, str | int | float | bool]

# What the promises rest on: no loss, no duplicates and no reordering by retries, and the placement of Java's clients.
PROMISES: ClientConfig = {"enable.idempotence": True, "acks": "all", "partitioner": "murmur2_random"}

_DEFAULTS: ClientConfig = {
    "compression.type": "lz4",
    "linger.ms": 0,
    "queue.buffering.max.messages": 100_000,
    # librdkafka's own limit of 1 GiB is more than most services have when a broker is away.
    "queue.buffering.max.kbytes": 131_072,
    # A missing topic is reported after 5 s, not 30: metadata of a new topic spreads in well under a second.
    "topic.metadata.propagation.max.ms": 5_000,
    "reconnect.backoff.max.ms": 1_000,
    "socket.nagle.disable": True,
    **lost_brokers.OPTIONS,
}


def client_config(settings: ProducerSettings, options: ClientOptions) -> ClientConfig:
    """Return librdkafka's configuration; raises OptionInvalid for an option that would break a promise."""
    of_settings: ClientConfig = {
        **settings.client_config(),
        "client.id": settings.source,
        "message.max.bytes": settings.message_max_bytes,
    }
    fixed = {**PROMISES, **of_settings}
    for name, value in options.items():
        if name in fixed:
            raise OptionInvalid(f"client option {name!r}", _remedy(name), value)
    return {**_DEFAULTS, "delivery.timeout.ms": settings.delivery_timeout_ms, **options, **fixed}


def _remedy(name: str) -> str:
    return f"{PROMISES[name]!r}, on which no loss and order rest" if name in PROMISES else "it among the settings"
