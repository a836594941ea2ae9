"""What a producer reads from the environment."""

import socket

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from producers.cluster import Cluster


class ProducerSettings(Cluster):
    """The cluster, and how jobs are published to it."""

    model_config = SettingsConfigDict(populate_by_name=True)

    namespace: str = Field(default="jobs", validation_alias="STREAMS_NAMESPACE")  # prefix of all topics
    source: str = Field(
        default_factory=socket.gethostname, min_length=1, max_length=1024, validation_alias="STREAMS_SOURCE"
    )
    message_max_bytes: int = Field(default=1_000_000, ge=1_000, le=1_000_000_000)  # of one record, before compression
    delivery_timeout_ms: int = Field(
        default=120_000, ge=1, le=2_147_483_647
    )  # after which an undelivered job has failed
