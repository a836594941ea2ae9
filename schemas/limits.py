"""How much one record may make of a process: the bounds on what others have written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that no honest job comes near. What is above one becomes a dead letter that says so."""

    #: Bytes that a packed batch of records may unpack to.
    batch_bytes: int = 32 * 1024 * 1024
    #: Headers of one record.
    headers: int = 256
    #: Records within records of one payload.
    depth: int = 64
    #: Items of arrays and maps in one payload, all together.
    items: int = 100_000
    #: Types in a schema, those that it uses again counted again; also a hundredth of its text's bytes.
    schema_nodes: int = 10_000


DEFAULT_LIMITS = Limits()
