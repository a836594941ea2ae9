"""Answers to fetches by ids, read as aiokafka reads them by a schema."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from aiokafka.protocol.api import Response
from aiokafka.protocol.types import CompactArray, CompactBytes, Int16, Int32, Int64, Schema, TaggedFields
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.admin.topic_ids import Uuid
from streams.kafka.fetch.wire import read_answer


class FetchByIdResponse(Response):  # type: ignore[misc] # aiokafka is untyped
    """Kafka's FetchResponse, version 13."""

    API_KEY = 1
    API_VERSION = 13
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("session_id", Int32),
        (
            "topics",
            CompactArray(
                ("topic_id", Uuid),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("highwater", Int64),
                        ("last_stable_offset", Int64),
                        ("log_start_offset", Int64),
                        (
                            "aborted_transactions",
                            CompactArray(("producer_id", Int64), ("first_offset", Int64), ("tags", TaggedFields)),
                        ),
                        ("preferred_read_replica", Int32),
                        ("records", CompactBytes),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


int16, int32, int64 = (st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (16, 32, 64))
# aiokafka writes the contents of a tag without their length.
contents = st.binary(max_size=100).map(lambda content: bytes([len(content)]) + content)
tags = st.dictionaries(st.integers(1, 300), contents, max_size=2)
aborted = st.none() | st.lists(st.tuples(int64, int64, tags), max_size=3)
records = st.none() | st.binary(max_size=300)
partitions = st.lists(st.tuples(int32, int16, int64, int64, int64, aborted, int32, records, tags), max_size=3)
topics = st.lists(st.tuples(st.binary(min_size=16, max_size=16), partitions, tags), max_size=3)
answers = st.builds(FetchByIdResponse, int32, int16, int32, topics, tags)


@given(answers, st.binary(max_size=5))
def test_an_answer_is_read_as_its_schema_says(answer: Any, head: bytes) -> None:
    data = BytesIO(head + answer.encode())
    data.seek(len(head))
    read = read_answer(data)
    assert read.error_code == answer.error_code
    assert [(log, [*parts]) for log, parts in read.topics] == [
        (
            log,
            [
                (*part[:5], [(producer, first) for producer, first, _ in part[5] or ()], part[6], part[7] or b"")
                for part in parts
            ],
        )
        for log, parts, _ in answer.topics
    ]


@given(answers)
def test_an_answer_that_ends_too_soon_is_refused(answer: Any) -> None:
    whole = answer.encode()
    for end in range(len(whole)):
        with pytest.raises(ValueError, match="the answer to a fetch ends"):
            read_answer(BytesIO(whole[:end]))
