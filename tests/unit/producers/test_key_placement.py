"""Where keys belong, against what other clients make of them."""

from __future__ import annotations

import zlib

import pytest
from aiokafka.partitioner import murmur2 as murmur2_of_aiokafka
from hypothesis import given
from hypothesis import strategies as st

from producers.routing.key_placement import is_misplaced, murmur2, partition_of


@given(st.binary(max_size=64))
def test_the_hash_is_that_of_other_clients(key: bytes) -> None:
    assert murmur2(key) == murmur2_of_aiokafka(key) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("key", "hashed"), [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)]
)
def test_the_hash_is_that_of_java_s_own_tests(key: bytes, hashed: int) -> None:
    """org.apache.kafka.common.utils.UtilsTest.testMurmur2"""
    assert murmur2(key) == hashed & 0xFFFFFFFF


@given(st.binary(min_size=1, max_size=32), st.integers(1, 64), st.integers(0, 64))
def test_no_key_is_misplaced_that_was_placed_when_the_topic_was_smaller(key: bytes, before: int, more: int) -> None:
    assert not is_misplaced(key, partition_of(key, before), before + more)


def test_about_half_of_the_keys_that_another_rule_places_are_found() -> None:
    keys = [f"customer-{number}".encode() for number in range(1_000)]
    for partitions in (2, 3, 12, 48):
        found = sum(is_misplaced(key, zlib.crc32(key) % partitions, partitions) for key in keys)
        elsewhere = sum(partition_of(key, partitions) != zlib.crc32(key) % partitions for key in keys)
        assert 0.4 * elsewhere < found, partitions


def test_a_topic_of_one_partition_has_no_wrong_place() -> None:
    assert not is_misplaced(b"ada", 0, 1)
