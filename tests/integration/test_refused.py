"""Topics that refuse the worker's own records: what these stand for is not finished, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from producers.cluster import Cluster
from schemas import Codec, shipped
from streams.kafka.producer.sender import ReliableSender
from streams.ports.records import OutgoingRecord
from tests import unfinished as commits
from tests.appending import append
from tests.integration.conftest import Fleet
from tests.ledger_rules import inversions, overlaps
from tests.models.ordered import Step
from tests.publishing import Steps
from tests.topics import Headers, count, partitions, read_all, refusing
from tests.waiting import until
from tests.workers import Worker, Workers

QUEUE = "failing"
SESSION = 6
#: Time for the session of a killed worker to end, and for another to take over.
TAKEN_OVER = 40


def test_a_retry_topic_that_refuses_records(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.failing", session_timeout=SESSION, retry_hold=0)
    (worker,) = workers.start()
    retry = f"{namespace}.{QUEUE}.retry"
    with Steps(kafka, namespace) as steps:
        with refusing(kafka, retry):
            first = steps.publish("a", 0, queue=QUEUE, fails=2)
            behind = {steps.publish("a", 0, queue=QUEUE) for _ in range(5)}
            others = publish_others(steps)
            workers.await_done(others, within=20)
            await_refusal(worker, retry)
            # Read after the refusal: diverted, and refused as well.
            behind |= {steps.publish("a", 0, queue=QUEUE) for _ in range(5)}
            others |= publish_others(steps)
            workers.await_done(others, within=20)
            held = {first, *behind}
            until(lambda: unfinished(workers) == held, within=20, what="all else is committed, and nothing of the key")
            workers.kill(worker)
            second = workers.launch()
            until(lambda: starts(workers, first) == 2, within=TAKEN_OVER, what="the failed job runs on another worker")
            await_refusal(second, retry)
            others |= publish_others(steps)
            workers.await_done(others, within=20)
            until(lambda: unfinished(workers) == held, within=20, what="still nothing of the key is committed")
        workers.await_done(steps.ids, within=30)
    until(lambda: not unfinished(workers), within=20, what="everything is committed")
    workers.stop()
    runs = workers.ledger.runs()
    # The attempt that the broker has not heard of is made again by the second worker.
    assert [run.attempt for run in runs if run.job == first] == [0, 0, 1, 2]
    assert Counter(run.job for run in runs) == Counter({first: 4, **dict.fromkeys(behind | others, 1)})
    assert not inversions(runs)
    assert not overlaps(runs, workers.kills)


def test_a_dead_letter_topic_that_refuses_records(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.failing", session_timeout=SESSION)
    (worker,) = workers.start()
    dead = f"{namespace}.{QUEUE}.dead"
    with Steps(kafka, namespace) as steps:
        with refusing(kafka, dead):
            hopeless = steps.publish("a", 0, queue=QUEUE, fails=-1)
            behind = {steps.publish("a", 0, queue=QUEUE) for _ in range(5)}
            others = publish_others(steps)
            workers.await_done(others, within=20)
            await_refusal(worker, dead)
            held = {hopeless, *behind}
            until(lambda: unfinished(workers) == held, within=20, what="all else is committed, and nothing of the key")
            workers.kill(worker)
            second = workers.launch()
            until(lambda: starts(workers, hopeless) == 2, within=TAKEN_OVER, what="the job runs on another worker")
            await_refusal(second, dead)
            others |= publish_others(steps)
            workers.await_done(others, within=20)
            until(lambda: unfinished(workers) == held, within=20, what="still nothing of the key is committed")
            assert not read_all(kafka, dead)
        workers.await_done(behind, within=30)
    until(lambda: not unfinished(workers), within=20, what="everything is committed")
    workers.stop()
    runs = workers.ledger.runs()
    assert Counter(run.job for run in runs) == Counter({hopeless: 2, **dict.fromkeys(behind | others, 1)})
    assert min(run.start for run in runs if run.job in behind) > max(run.start for run in runs if run.job == hopeless)
    assert not overlaps(runs, workers.kills)
    (letter,) = read_all(kafka, dead)
    assert letter.header("ce_id") == hopeless
    assert letter.header("job-attempt") == "1"


def publish_others(steps: Steps) -> set[str]:
    """Jobs of other keys, on all partitions."""
    return {steps.publish(f"other-{number}", 0, queue=QUEUE) for number in range(30)}


def await_refusal(worker: Worker, topic: str) -> None:
    what = f"the worker tells that {topic} takes no record"
    until(lambda: worker.count(rf"{topic}: a record is sent again.*INVALID_(TIMESTAMP|RECORD)"), within=20, what=what)


def starts(workers: Workers, job: str) -> int:
    return sum(run.job == job for run in workers.ledger.runs())


def unfinished(workers: Workers) -> set[str]:
    return commits.unfinished(workers.bootstrap, workers.group, f"{workers.group.removesuffix('.default')}.{QUEUE}")


def test_jobs_that_their_queue_took_as_they_were_packed_better(fleet: Fleet, kafka: str, namespace: str) -> None:
    workers = fleet("tests.jobs.failing", retry_hold=0)
    (worker,) = workers.start()
    queue = f"{namespace}.{QUEUE}"
    # Half of its bits are chance: zstd halves it, and lz4 finds nothing that repeats.
    text = random.Random(7).randbytes(800_000).hex().encode()
    publish_packed(
        kafka, queue, {"again": [("fails", b"1"), ("text", text)], "hopeless": [("fails", b"-1"), ("text", text)]}
    )
    workers.await_done({"again"}, within=30)
    until(lambda: count(kafka, f"{queue}.dead") == 1, within=30, what="the dead letter is there")
    workers.stop()
    assert [run.attempt for run in workers.ledger.runs() if run.job == "again"] == [0, 1]
    (letter,) = read_all(kafka, f"{queue}.dead")
    assert letter.header("ce_id") == "hopeless"
    assert ("text", text) in letter.headers
    for beside in ("retry", "dead"):
        assert worker.count(rf"topic {queue}\.{beside} takes records of up to 16\d{{5}} bytes now") == 1


def publish_packed(kafka: str, topic: str, jobs: dict[str, Headers]) -> None:
    """Publish steps under these ids with these headers, packed as well as can be."""
    producer = Producer({"bootstrap.servers": kafka, "compression.type": "zstd", "message.max.bytes": 5_000_000})
    value = Codec(shipped()).encode(Step(seq=0, seconds=0.0), topic)
    for job, headers in jobs.items():
        producer.produce(topic, value, job.encode(), headers=[("ce_id", job.encode()), *headers])
        assert producer.flush(30) == 0


async def test_follow_ups_that_would_not_fit_into_one_batch(kafka: str, namespace: str) -> None:
    topic = f"{namespace}.small"
    create(kafka, topic, limit=100_000)
    sender = ReliableSender(Cluster(bootstrap_servers=kafka), batch_bytes=100_000)
    records = [OutgoingRecord(topic, b"k", random.Random(number).randbytes(50_000), []) for number in range(10)]
    try:
        await asyncio.wait_for(asyncio.gather(*(sender.send(record) for record in records)), 30)
    finally:
        await sender.close()
    assert count(kafka, topic) == 10


async def test_a_record_whose_headers_cost_more_than_they_hold(kafka: str, namespace: str) -> None:
    topic = f"{namespace}.small.retry"
    create(kafka, topic, limit=20_000)
    sender = ReliableSender(Cluster(bootstrap_servers=kafka))
    chance = random.Random(3)
    headers = [(str(number % 10), chance.randbytes(1)) for number in range(12_000)]
    try:
        await asyncio.wait_for(
            append(sender, OutgoingRecord(topic, b"k", chance.randbytes(10_000), list(headers), 0)), 30
        )
    finally:
        await sender.close()


def create(kafka: str, topic: str, *, limit: int) -> None:
    """Make a topic of one partition that takes batches of so many bytes."""
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    made = NewTopic(topic, 1, 1, config={"max.message.bytes": str(limit)})
    admin.create_topics([made], request_timeout=30)[topic].result()
    until(lambda: partitions(kafka, topic) == 1, within=20, what=f"{topic} is there")
