"""The ids of topics (KIP-516), as brokers tell them: a topic that is deleted and made anew has another.

aiokafka asks for metadata in a version that knows none. Brokers tell them since Kafka 2.8.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Any

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from streams.core.offsets.log_id import UNKNOWN

#: The id that stands for none.
_NONE = bytes(16)

_NAME = CompactString("utf-8")


class Uuid(AbstractType[bytes]):  # type: ignore[misc] # aiokafka is untyped
    """Kafka's type of an id: sixteen bytes, which aiokafka has none for."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """The bytes as they are."""
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        """The bytes as they are."""
        found: bytes = data.read(16)
        return found


def as_text(topic_id: bytes) -> str:
    """An id as Kafka writes it; UNKNOWN for none."""
    return UNKNOWN if topic_id == _NONE else base64.urlsafe_b64encode(topic_id).decode().rstrip("=")


def as_bytes(topic_id: str) -> bytes:
    """An id as it stands in requests."""
    return base64.urlsafe_b64decode(topic_id + "==")


class TopicIdsResponse(Response):  # type: ignore[misc] # aiokafka is untyped
    """A broker's answer: what it knows of some topics, ids included."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("node_id", Int32), ("host", _NAME), ("port", Int32), ("rack", _NAME), ("tags", TaggedFields)),
        ),
        ("cluster_id", _NAME),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", _NAME),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )
    topics: Any


class TopicIdsStruct(RequestStruct):  # type: ignore[misc] # aiokafka is untyped
    """A request for the metadata of some topics, as it stands on the wire."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = TopicIdsResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("topic", _NAME), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicIdsRequest(Request[TopicIdsStruct]):  # type: ignore[misc] # aiokafka is untyped
    """Asks for the ids of topics, and makes none of them."""

    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[TopicIdsStruct]) -> TopicIdsStruct:
        """The request in a version that a broker understands."""
        return request_struct_class([(_NONE, topic, {}) for topic in self._topics], False, False, False, {})


async def fetch_topic_ids(client: Any, topics: Collection[str]) -> dict[str, str | None]:
    """Ask, by a client of aiokafka, for the ids of topics.

    Returns None for a topic that is not there, UNKNOWN where the broker has no ids; left out is what it does not tell.
    Raises KafkaError when no broker answers.
    """
    node = client.get_random_node()
    try:
        answer = await client.send(node, TopicIdsRequest(topics))
    except NotImplementedError:
        return dict.fromkeys(topics, UNKNOWN)
    return dict(_ids_of(answer))


def _ids_of(answer: TopicIdsResponse) -> Mapping[str, str | None]:
    found: dict[str, str | None] = {}
    for code, topic, topic_id, *_ in answer.topics:
        error: type[KafkaError] = for_code(code)
        if error is UnknownTopicOrPartitionError:
            found[topic] = None
        elif topic_id != _NONE or not code:
            found[topic] = as_text(topic_id)
    return found
