"""Records that are no jobs: each becomes one dead letter, untouched, and its neighbours run."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psutil
from confluent_kafka import Producer

from schemas import Codec, shipped
from schemas.models.email import SendEmail
from tests import hostile_batches as raw
from tests.hostile_records import hostile_records, publish_hostile
from tests.integration.conftest import Fleet
from tests.ledger_rules import inversions, lost, overlaps, repeats
from tests.models.ordered import Step
from tests.publishing import Steps
from tests.raw_batches import publish, publish_batches
from tests.topics import Headers, Record, count, read_all
from tests.waiting import until

#: The largest record that a broker takes by default, less what a batch, a key and our one header cost.
LARGEST = 1_048_588 - 200

OURS = {
    "job-origin", "job-error-type", "job-error-message", "job-error-stack", "job-first-failed-at", "job-last-failed-at",
}  # fmt: skip

BROKEN_HEADERS: list[Headers] = [
    [("job-timeout-ms", b"soon")],
    [("job-timeout-ms", None)],
    [("job-timeout-ms", b"0")],
    [("job-attempt", b"-1")],
    [("job-attempt", "\u0661".encode())],
    [("job-expires-at", b"\xff\xfe")],
    [("job-not-before", b"9" * 100)],
    [("ce_id", b"\xff")],
    [("ce_id", b"")],
    [("job-parent", b"\x80"), ("job-parent", b"\x81")],
    [("job-parked", b"yes")],
]


@dataclass
class Malformed:
    """A record that is no job, and where it went."""

    kind: str
    errors: set[str]
    value: bytes | None
    headers: Headers = field(default_factory=list)
    key: bytes | None = None
    place: str = ""


def test_malformed_records_become_dead_letters(
    fleet: Fleet, kafka: str, namespace: str, show: Callable[[str], None]
) -> None:
    workers = fleet("tests.jobs.ordered", schema_wait=0)
    workers.start(2)
    topic = f"{namespace}.ordered"
    malformed = list(_malformed(random.Random(5)))
    with Steps(kafka, namespace) as steps:
        _publish(kafka, topic, malformed, between=lambda number: steps.publish(f"key-{number % 40}", 0.001))
    workers.await_done(steps.ids, within=60)
    until(lambda: count(kafka, f"{topic}.dead") >= len(malformed), within=60, what="a dead letter for every record")
    workers.stop()
    dead = read_all(kafka, f"{topic}.dead")
    kinds = Counter((record.kind, letter.header("job-error-type")) for record, letter in _pairs(malformed, dead))
    show(f"{len(malformed):,} malformed records among {len(steps.ids):,} good ones: {len(dead):,} dead letters")
    assert {record.place for record in malformed} == {letter.header("job-origin") for letter in dead}
    assert len(dead) == len(malformed)
    for record, letter in _pairs(malformed, dead):
        _check(record, letter)
    assert len(kinds) >= 9
    runs = workers.ledger.runs()
    assert not lost(steps.ids, runs)
    assert not repeats(runs)
    assert not inversions(runs)
    assert not overlaps(runs)


def test_names_of_headers_that_no_client_of_ours_would_write(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.failing", retry_hold=0)
    (worker,) = workers.start()
    topic = f"{namespace}.failing"
    value = Codec(shipped()).encode(Step(seq=0, seconds=0.0), "any")
    names = [b"caf\xe9", b"job-not-before\x00", b"job-parked\x00", b"\xff"]
    headers = [(name, b"9" * 15) for name in names]
    jobs = {"plain": b"0", "again": b"1", "hopeless": b"-1"}
    rows = [(key, value, [(b"ce_id", key), (b"fails", fails), *headers])
            for key, fails in ((job.encode(), fails) for job, fails in jobs.items())]  # fmt: skip
    asyncio.run(publish(kafka, topic, 2, rows))
    workers.await_done({"plain", "again"}, within=30)
    until(lambda: count(kafka, f"{topic}.dead") == 1, within=30, what="the dead letter is there")
    assert worker.running
    workers.stop()
    assert Counter(run.job for run in workers.ledger.runs()) == {"plain": 1, "again": 2, "hopeless": 1}
    (retried,) = read_all(kafka, f"{topic}.retry")
    (letter,) = read_all(kafka, f"{topic}.dead")
    escaped = ["caf\\xe9", "job-not-before\\x00", "job-parked\\x00", "\\xff"]
    for record in (retried, letter):
        assert [name for name, content in record.headers if content == b"9" * 15] == escaped
    assert int(retried.header("job-not-before") or 0) < 10**14


def test_batches_that_claim_more_than_a_worker_takes(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.failing")
    (worker,) = workers.start()
    topic = f"{namespace}.failing"
    value = Codec(shipped()).encode(Step(seq=0, seconds=0.0), "any")
    hostile = [
        (raw.batch(raw.record(0, bytes(128 * 1024 * 1024)), 1, 4), 1),
        (raw.batch(raw.record(0, value, raw.headers(b"\xff", 3_000_000), key=b"k"), 1, 4), 1),
        (raw.batch(raw.record(0, value, raw.headers(b"a", 3_000_000), key=b"k"), 1, 4), 1),
        (raw.batch(raw.record(0, value, _named("odd"), attributes=0xFF), 1), 1),
    ]
    asyncio.run(publish_batches(kafka, topic, 2, hostile))
    with Steps(kafka, namespace) as steps:
        wanted = {"odd", *(steps.publish(f"key-{number}", 0, queue="failing") for number in range(20))}
    workers.await_done(wanted, within=30)
    until(lambda: count(kafka, f"{topic}.dead") == 3, within=30, what="a dead letter for each record above a bound")
    assert worker.running
    assert psutil.Process(worker.pid).memory_info().rss < 600_000_000
    workers.stop()
    letters = sorted(read_all(kafka, f"{topic}.dead"), key=lambda letter: letter.header("job-origin") or "")
    assert [letter.header("job-origin") for letter in letters] == [f"{topic}/2/{offset}" for offset in range(3)]
    assert {letter.header("job-error-type") for letter in letters} == {"schemas.errors.RecordRefused"}
    assert "STREAMS_MAX_BATCH_BYTES" in (letters[0].header("job-error-message") or "")
    assert "3,000,000 headers are more than STREAMS_MAX_HEADERS" in (letters[1].header("job-error-message") or "")
    assert [(letter.key, letter.value) for letter in letters] == [(None, None), (b"k", value), (b"k", value)]
    assert {name for letter in letters for name, _ in letter.headers} == OURS
    assert not worker.count("cannot be read from offset")


def _named(job: str) -> bytes:
    name, content = b"ce_id", job.encode()
    return raw.varint(1) + raw.varint(len(name)) + name + raw.varint(len(content)) + content


def _check(record: Malformed, letter: Record) -> None:
    _, partition, _ = record.place.rsplit("/", 2)
    about = (record.kind, record.place, letter.header("job-error-message"))
    assert letter.header("job-error-type") in record.errors, about
    assert letter.value == record.value, about
    assert letter.key == record.key, about
    assert letter.partition == int(partition), about
    assert [header for header in letter.headers if header[0] not in OURS] == record.headers, about
    assert {name for name, _ in letter.headers} >= OURS, about
    assert letter.header("job-error-message"), about
    assert (letter.header("job-error-type") or "") in (letter.header("job-error-stack") or ""), about
    first, last = letter.header("job-first-failed-at"), letter.header("job-last-failed-at")
    assert first == last
    assert (last or "").isdigit()


def _pairs(malformed: list[Malformed], dead: list[Record]) -> Iterator[tuple[Malformed, Record]]:
    sent = {record.place: record for record in malformed}
    return ((sent[letter.header("job-origin") or ""], letter) for letter in dead)


def _malformed(chance: random.Random) -> Iterator[Malformed]:
    """2,000 records of every kind, with keys of good jobs, keys of their own, broken keys and none."""
    keys = [f"key-{number}".encode() for number in range(40)] + [b"own", b"\xff\xfe\x00", b"", None, None, None]
    kinds = [record for number in range(286) for record in _each_kind(chance, number)][:1980]
    records = kinds + [_large(chance, number) for number in range(20)]
    chance.shuffle(records)
    for record in records:
        record.key = chance.choice(keys)
        yield record


def _each_kind(chance: random.Random, number: int) -> Iterator[Malformed]:
    codec = Codec(shipped())
    good = codec.encode(Step(seq=number + 2**40, seconds=0.0), "any")
    unframed = {"UnknownFraming", "UnknownSchema", "UnusableSchema"}  # one byte in 256 looks like Confluent's framing
    yield _bad("random bytes", unframed, chance.randbytes(chance.randint(5, 300)))
    yield _bad("truncated", {"TruncatedPayload"}, good[: chance.randint(10, len(good) - 1)])
    yield _bad("trailing bytes", {"TrailingBytes"}, good + chance.randbytes(chance.randint(1, 20)))
    yield _bad("wrong fingerprint", {"UnknownSchema"}, good[:2] + chance.randbytes(8) + good[10:])
    yield _bad("null value", {"MissingPayload"}, chance.choice([None, b""]))
    email = SendEmail(to=["a@example.org"], subject="wrong queue", text="")
    yield Malformed("unknown type", {"streams.errors.NoHandler"}, codec.encode(email, "any"))
    headers = BROKEN_HEADERS[number % len(BROKEN_HEADERS)]
    yield Malformed("broken headers", {"schemas.errors.HeaderInvalid"}, good, [("x-kept", b"\xff\x00"), *headers])


def _large(chance: random.Random, number: int) -> Malformed:
    beginning = b"\xc3\x01" if number % 2 else b"\xff"
    errors = {"UnknownSchema"} if number % 2 else {"UnknownFraming"}
    return _bad("large", errors, beginning + chance.randbytes(LARGEST - len(beginning)))


def _bad(kind: str, errors: set[str], value: bytes | None) -> Malformed:
    return Malformed(kind, {f"schemas.errors.{error}" for error in errors}, value, [("x-kept", b"1")])


def _publish(bootstrap: str, topic: str, records: list[Malformed], *, between: Callable[[int], object]) -> None:
    """Write the records as a foreign client would, and call `between` before each."""
    client: dict[str, str | int | float | bool] = {
        "bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "message.max.bytes": 1_048_588, "acks": "all",
        "log_level": 0,
    }  # fmt: skip
    producer = Producer(client)
    for number, record in enumerate(records):
        between(number)

        def delivered(error: object, message: object, record: Malformed = record) -> None:
            assert error is None, error
            record.place = f"{message.topic()}/{message.partition()}/{message.offset()}"  # type: ignore[attr-defined]

        producer.produce(topic, record.value, record.key, headers=list(record.headers), on_delivery=delivered)
        producer.poll(0)
    assert producer.flush(30) == 0


def test_a_hundred_thousand_hostile_records(
    fleet: Fleet, kafka: str, namespace: str, show: Callable[[str], None]
) -> None:
    """Each becomes one dead letter, and neither the group nor the jobs of another queue wait for them."""
    workers = fleet("tests.jobs.ordered,tests.jobs.failing")
    (worker,) = workers.start()
    topic = f"{namespace}.failing"
    with Steps(kafka, namespace) as steps:
        member = until(lambda: worker.member, within=30, what=worker.tail)
        sent = publish_hostile(kafka, topic, hostile_records(random.Random(7), 100_000))
        began = time.monotonic()
        for number in range(500):
            steps.publish(f"key-{number % 40}", 0.0, queue="ordered")
    workers.await_done(steps.ids, within=60)
    beside = time.monotonic() - began
    until(lambda: count(kafka, f"{topic}.dead") >= 100_000, within=300, every=0.5, what=worker.tail)
    show(f"100,000 hostile records: dead letters after {time.monotonic() - began:.1f} s, jobs beside {beside:.1f} s")
    workers.stop()
    origins = {letter.header("job-origin") for letter in read_all(kafka, f"{topic}.dead")}
    assert origins == {f"{topic}/{partition}/{offset}" for partition, end in sent.items() for offset in range(end)}
    assert count(kafka, f"{topic}.dead") == 100_000
    assert worker.member == member, "its heartbeats went on"
