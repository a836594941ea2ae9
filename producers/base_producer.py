"""What both producers are made of: settings, codec, client, and the way from payload to record."""

import time
from collections.abc import Iterable
from typing import Any, cast

from producers.delivery.client_config import ClientOptions, client_config
from producers.delivery.kafka_client import KafkaClient
from producers.errors import OptionInvalid
from producers.publish_options import PublishOptions, SharedOptions
from producers.record import JobRecord, compose
from producers.settings import ProducerSettings
from schemas.catalog import shipped
from schemas.codec import Codec
from schemas.registry import Registry


class BaseProducer:
    """One service's way of publishing jobs. Making it neither blocks nor connects."""

    def __init__(
        self,
        settings: ProducerSettings | None = None,
        *,
        codec: Codec | None = None,
        client_options: ClientOptions | None = None,
    ) -> None:
        """Read the environment where no settings are given.

        `client_options` are librdkafka's, for tuning. Raises OptionInvalid for one that would break a promise.
        """
        self.settings = ProducerSettings() if settings is None else settings
        self._codec = Codec(shipped(), Registry.from_environment()) if codec is None else codec
        self._client = KafkaClient(client_config(self.settings, client_options or {}))
        self._namespace = self.settings.namespace
        self._source = self.settings.source
        self._max_bytes = self.settings.message_max_bytes

    def _compose(self, payload: Any, options: PublishOptions) -> JobRecord:
        return compose(
            self._codec,
            payload,
            options,
            namespace=self._namespace,
            source=self._source,
            now_ms=time.time_ns() // 1_000_000,
            max_bytes=self._max_bytes,
        )

    def _compose_all(self, jobs: Iterable[Any], shared: SharedOptions) -> list[JobRecord]:
        common: dict[str, Any] = {**shared}
        return [
            self._compose(payload, cast("PublishOptions", common | {"key": key}))
            for payload, key in map(with_key, jobs)
        ]


def with_key(job: Any) -> tuple[Any, str | None]:
    """Return a payload and its key, from either or both."""
    if not isinstance(job, tuple):
        return job, None
    if len(job) != 2:
        raise OptionInvalid("jobs", "payloads, or pairs of a payload and its key", job)
    return job
