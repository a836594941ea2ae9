"""A broker that answers with errors on demand: the mock cluster that librdkafka brings along (rdkafka_mock.h).

For what a real broker cannot be made to do: sequence errors, answers without an offset. The client of the code under
test uses it as any broker, over the network.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import confluent_kafka

#: Requests by their numbers in Kafka's protocol.
PRODUCE, LIST_OFFSETS, INIT_PRODUCER_ID = 0, 2, 22

_PRODUCER = 0  # RD_KAFKA_PRODUCER
_ALL_BROKERS = -1


class MockCluster:
    """One broker with a topic of one partition."""

    def __init__(self, topic: str) -> None:
        reason = ctypes.create_string_buffer(256)
        self._host = ctypes.c_void_p(_library().rd_kafka_new(_PRODUCER, None, reason, len(reason)))
        self._cluster = ctypes.c_void_p(_library().rd_kafka_mock_cluster_new(self._host, 1))
        self.bootstrap: str = _library().rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        _library().rd_kafka_mock_topic_create(self._cluster, topic.encode(), 1, 1)

    def fail(self, request: int, *errors: int) -> None:
        """Answer the next requests of a kind with these errors, one each; 0 is none."""
        codes = (ctypes.c_int * len(errors))(*errors)
        _library().rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(request), ctypes.c_size_t(len(errors)), codes
        )

    def delay(self, seconds: float) -> None:
        """Take so long for every answer."""
        _library().rd_kafka_mock_broker_set_rtt(self._cluster, _ALL_BROKERS, int(seconds * 1000))

    def hang_up(self) -> None:
        """Take no connections, and end those that there are."""
        _library().rd_kafka_mock_broker_set_down(self._cluster, _ALL_BROKERS)

    def answer(self) -> None:
        """Take connections again."""
        _library().rd_kafka_mock_broker_set_up(self._cluster, _ALL_BROKERS)

    def close(self) -> None:
        _library().rd_kafka_mock_cluster_destroy(self._cluster)
        _library().rd_kafka_destroy(self._host)


@cache
def _library() -> Any:
    """The library that the client has loaded already: its wheel brings it along, beside the package."""
    package = Path(confluent_kafka.__file__).parent
    (path,) = package.parent.glob("confluent_kafka.libs/librdkafka*")
    library = ctypes.CDLL(str(path))
    library.rd_kafka_new.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library
