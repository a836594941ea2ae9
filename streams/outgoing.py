"""A record that the worker writes."""

from __future__ import annotations

from typing import Any, NamedTuple


class Outgoing(NamedTuple):
    """A record to write; the partition is Kafka's choice by key where it is None.

    timestamp  epoch milliseconds; 0: now
    anywhere   whether any partition is better than none, where the topic lacks this one and cannot be given it
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, Any]]
    partition: int | None = None
    timestamp: int = 0
    anywhere: bool = False
