"""Records that are no jobs, as strangers and attackers write them; each is to become a dead letter."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from confluent_kafka import Producer

from schemas import Codec, shipped
from schemas.models.email import SendEmail
from tests import hostile_batches as raw


class Hostile(NamedTuple):
    """A record that is no job."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def hostile_records(chance: random.Random, number: int) -> Iterator[Hostile]:
    """So many records of queues of e-mails: of any bytes, cut, prolonged, with claims that no memory could hold, with
    headers that say nothing, or a thousand of them."""
    job = SendEmail(to=["someone@example.org"], subject="hostile", text="t" * 150)
    good = Codec(shipped()).encode(job, "any")
    for each in range(number):
        key = chance.choice([None, b"\xff\xfe" + chance.randbytes(2), f"key-{each % 1000}".encode()])
        yield Hostile(key, *_content(chance, each, good))


def _content(chance: random.Random, each: int, good: bytes) -> tuple[bytes | None, Sequence[tuple[str, bytes]]]:
    prefix = good[:10]
    match each % 10:
        case 0:
            return b"\xff\x01" + chance.randbytes(chance.randint(5, 300)), ()
        case 1:
            return good[: chance.randint(10, len(good) - 1)], ()
        case 2:
            return good + chance.randbytes(5), ()
        case 3:
            return None, ()
        case 4:
            return prefix + raw.varint(2**62), ()
        case 5:
            return prefix + raw.varint(-(2**40)) + raw.varint(2**50), ()
        case 6:
            return prefix + raw.varint(1) + raw.varint(2**40) + b"x" * 50, ()
        case 7:
            return good, [("job-timeout-ms", chance.choice([b"soon", b"0", b"9" * 100, b"\xff"]))]
        case 8:
            return good, [("job-not-before", b"\xd9\xa1"), ("x", b"kept")]
        case _:
            return good, [("h", b"")] * 1000 if each % 1000 == 9 else [("ce_id", b"\xff")]


def publish_hostile(bootstrap: str, topic: str, records: Iterable[Hostile]) -> Counter[int]:
    """Write records as a foreign client would; how many each partition has got of them."""
    told: Counter[int] = Counter()

    def delivered(error: object, message: object) -> None:
        assert error is None, error
        told[message.partition()] += 1  # type: ignore[attr-defined]

    client = Producer({
        "bootstrap.servers": bootstrap, "acks": "all", "log_level": 0, "linger.ms": 20,
        "queue.buffering.max.messages": 200_000,
    })  # fmt: skip
    for record in records:
        client.produce(topic, record.value, record.key, headers=list(record.headers), on_delivery=delivered)
        client.poll(0)
    assert client.flush(60) == 0
    return told
